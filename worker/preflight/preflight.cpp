// SPDX-License-Identifier: Apache-2.0
#include "worker/preflight/preflight.h"

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <optional>
#include <vector>

#include "coordinator/config/run_file.h"
#include "coordinator/job/machine.h"
#include "coordinator/job/preflight.h"
#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "worker/preflight/training_bits.h"

namespace kiban::worker {
namespace {

using coordinator::PreflightRow;

constexpr std::uint64_t kMemoryBytes = 32u << 20;
constexpr std::uint64_t kDiskBytes = 32u << 20;
constexpr std::size_t kLinkFloats = 4u << 20;
constexpr int kLinkRounds = 3;  // the first one opens the connection

double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string text_of(const std::filesystem::path& file) {
    try {
        return monitoring::read_text_if_exists(file).value_or("nothing");
    } catch (const IoError& error) {
        return error.what();
    }
}

// The first workers of the nodes; of a node alone the first two, so that there is a link.
std::vector<int> measured_workers(const std::vector<std::string>& hosts) {
    std::vector<int> first;
    for (std::size_t rank = 0; rank < hosts.size(); ++rank) {
        if (std::find(hosts.begin(), hosts.begin() + static_cast<std::ptrdiff_t>(rank), hosts[rank]) ==
            hosts.begin() + static_cast<std::ptrdiff_t>(rank))
            first.push_back(static_cast<int>(rank));
    }
    if (first.size() == 1 && hosts.size() > 1) first.push_back(1);
    return first;
}

bool is_first_of_node(const std::vector<std::string>& hosts, int rank) {
    const auto here = hosts.begin() + rank;
    return std::find(hosts.begin(), here, *here) == here;
}

// There and back, the best round; 0 when this worker is not `from`.
double measure_link(const Group& world, int from, int to) {
    if (world.rank() != from && world.rank() != to) return 0;
    std::vector<float> values(kLinkFloats, 1.0F);
    double best = 0;
    for (int round = 0; round < kLinkRounds; ++round) {
        const double began = coordinator::monotonic_seconds();
        if (world.rank() == from) {
            world.send(values, to, 0);
            world.receive(values, to, 0);
        } else {
            world.receive(values, from, 0);
            world.send(values, from, 0);
        }
        const double seconds = coordinator::monotonic_seconds() - began;
        best = std::max(best, 2.0 * static_cast<double>(kLinkFloats * sizeof(float)) / seconds);
    }
    return world.rank() == from ? best : 0;
}

// A ring over the nodes, one pair after the other, so that no link carries two.
void measure_links(const Group& world, const std::vector<std::string>& hosts, PreflightRow& row) {
    const std::vector<int> ring = measured_workers(hosts);
    for (std::size_t i = 0; i < ring.size() && ring.size() > 1; ++i) {
        const int to = ring[(i + 1) % ring.size()];
        world.barrier();
        const double speed = measure_link(world, ring[i], to);
        if (world.rank() != ring[i]) continue;
        row.link_speed = speed;
        row.link_host = hosts[static_cast<std::size_t>(to)];
    }
}

}  // namespace

std::string preflight(const coordinator::Job& job, const Group& world, const Runtime& runtime) {
    const std::filesystem::path directory = job.options.at("directory").get<std::string>();
    const std::vector<std::string> hosts = world.all_gather(runtime.host);
    PreflightRow row{.rank = world.rank(), .host = runtime.host, .kernels = runtime.kernels};
    row.nonce = text_of(job.options.at("nonce_file").get<std::string>());
    world.barrier();
    row.clock_seconds = wall_seconds();
    row.memory_speed = coordinator::memory_bandwidth(1, kMemoryBytes);
    world.barrier();
    if (is_first_of_node(hosts, world.rank())) row.disk_speed = coordinator::durable_write_speed(directory, kDiskBytes);
    measure_links(world, hosts, row);
    world.barrier();
    const TrainingBits bits = training_bits(coordinator::parse_run_file(job.run_file, {}, "run file of the job"));
    row.bits = bits.digest;
    row.step_seconds = bits.seconds;
    std::vector<PreflightRow> rows;
    for (const std::string& text : world.all_gather(coordinator::to_json({row})))
        rows.push_back(coordinator::preflight_rows_from_json(text).at(0));
    return coordinator::to_json(rows);
}

}  // namespace kiban::worker
