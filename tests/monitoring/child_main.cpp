// SPDX-License-Identifier: Apache-2.0
// The process that the fault tests break: does one thing of monitoring/, prints what went wrong, exits as `kiban`
// would.
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <csignal>
#include <iostream>
#include <string>
#include <thread>
#include <vector>

#include "monitoring/curve.h"
#include "monitoring/curve_axis.h"
#include "monitoring/error.h"
#include "monitoring/expose.h"
#include "monitoring/fault.h"
#include "monitoring/file.h"
#include "monitoring/rewrite.h"
#include "monitoring/run_metrics.h"
#include "tests/monitoring/simulated_run.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

constexpr std::size_t kDiskBytes = 64 * 1024;

// A disk of 64 KiB in a mount namespace of this process alone, or, where mounting is not allowed, files of at most 64
// KiB.
void make_disk_small(const std::filesystem::path& directory) {
    if (::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        ::mount("kiban-test", directory.c_str(), "tmpfs", 0, "size=64k") == 0) {
        std::cout << "disk: tmpfs\n";
        return;
    }
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{kDiskBytes, kDiskBytes};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) throw InternalError("cannot limit the file size");
    std::cout << "disk: file size limit\n";
}

void limit_file_size(std::size_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) throw InternalError("cannot limit the file size");
}

void publish_on_small_disk(const std::filesystem::path& directory) {
    make_disk_small(directory);
    publish(directory / "state", "old");
    try {
        publish(directory / "state", std::string(4 * kDiskBytes, 'x'));
    } catch (const IoError& error) {
        std::cout << "error: " << error.what() << '\n';
    }
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        std::cout << "left: " << entry.path().filename().string() << " = " << read_text(entry.path()) << '\n';
    }
}

void preallocate_on_small_disk(const std::filesystem::path& directory) {
    make_disk_small(directory);
    File file = File::create(directory / "shard");
    file.preallocate(4 * kDiskBytes);
}

CurveRow curve_row(std::uint64_t step) {
    CurveRow row;
    row.step = step;
    row.loss = 4.0 / static_cast<double>(step);
    row.attempt = 1;
    return row;
}

void append_rows(const std::filesystem::path& directory, std::uint64_t count) {
    CurveWriter writer(directory);
    writer.begin_attempt(1, 0);
    for (std::uint64_t step = 1; step <= count; ++step) {
        writer.append(curve_row(step));
        if (step % 10 == 0) writer.sync();
    }
}

// The limit cuts an entry in two; then there is room again.
void append_through_a_full_disk(const std::filesystem::path& directory) {
    CurveWriter writer(directory);
    writer.append(curve_row(1));
    limit_file_size(std::filesystem::file_size(directory / "curve.log") + 20);
    try {
        writer.append(curve_row(2));
    } catch (const IoError& error) {
        std::cout << "error: " << error.what() << '\n';
    }
    limit_file_size(RLIM_INFINITY);
    writer.append(curve_row(2));
    writer.append(curve_row(3));
}

void save_and_stumble(RunMetrics& metrics, std::uint64_t step) {
    metrics.checkpoint_queued(step);
    metrics.checkpoint_ended();
    metrics.checkpoint_committed(step, 4096, 0.2);
    metrics.checkpoint_written(4096, 0.1);
    metrics.checkpoint_skipped();
    metrics.checkpoint_failed("enospc");
    metrics.prepared_unit(1000, 3, 900);
    metrics.anomaly(kNonFiniteCause);
    metrics.rolled_back();
    metrics.rows_left_out(32);
    metrics.hosts_excluded(1);
    metrics.hang("reduce");
    metrics.restarted("signal", 7, 700);
    metrics.decided("restart");
}

// Serves the metrics of a run that goes on for as long as the process lives: every family, two workers, 50 steps a
// second. The address goes to `directory`/targets.json, as a coordinator writes it.
[[noreturn]] void serve_a_run(const std::filesystem::path& directory, const std::string& name) {
    RunIdentity simulated = identity();
    simulated.run = name;
    simulated.target_steps = 100000;
    RunMetrics metrics(simulated);
    every_event(metrics);
    communicate_on_every_axis(metrics);
    const MetricsServer server(metrics, "127.0.0.1:0");
    publish(directory / "targets.json", fmt::format("[{{\"targets\":[\"127.0.0.1:{}\"]}}]\n", server.port()));
    for (std::uint64_t step = 11;; ++step) {
        CurveRow row = row_of(step, 2.0 + 8.0 / static_cast<double>(step));
        if (step % 10 == 0) row.eval_loss = row.loss + 0.5;
        metrics.step(row, 100, step % 3 == 0, {{"data", 0.002}, {"forward", 0.006}, {"backward", 0.012}});
        communicate_on_every_axis(metrics);
        metrics.checkpoint_stalled(0.001);
        if (step % 50 == 0) save_and_stumble(metrics, step);
        for (int rank = 0; rank < 2; ++rank) {
            metrics.worker_up(rank, true);
            metrics.worker_step(rank, step);
            metrics.worker_heartbeat_age(rank, 0.5);
            metrics.worker_memory(rank, 1 << 20, 1 << 10);
        }
        if (step % 10 == 0) rewrite(directory / kMetricsFile, metrics.text());
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
}

// Serves the runs of `directory` for as long as the process lives, as `kiban expose` does; the address goes to
// `directory`/targets.json.
[[noreturn]] void expose(const std::filesystem::path& directory) {
    const ExposedRuns runs({directory});
    const MetricsServer server({runs.collectable()}, "127.0.0.1:0", "--listen");
    publish(directory / "targets.json", fmt::format("[{{\"targets\":[\"127.0.0.1:{}\"]}}]\n", server.port()));
    while (true) ::pause();
}

// A record of `steps` steps as OpenMetrics text, with a spike of one step in its middle.
void print_openmetrics(const std::string& run, std::uint64_t steps, CurveAxis axis) {
    std::vector<CurveRow> rows;
    for (std::uint64_t step = 1; step <= steps; ++step) {
        const auto at = static_cast<double>(step);
        CurveRow row = curve_row(step);
        row.tokens = 4096 * step;
        row.loss = step == steps / 2 ? 25.0 : 2.0 + 8.0 / std::sqrt(at) + 0.05 * std::sin(0.7 * at);
        row.learning_rate = 1e-3 / std::sqrt(at);
        row.grad_norm = 0.5 + 0.2 * std::cos(1.3 * at);
        if (step % 100 == 0) row.eval_loss = row.loss + 0.1;
        rows.push_back(row);
    }
    write_openmetrics(std::cout, rows, run, axis);
}

void pass_point(const std::string& point, int times) {
    for (int call = 1; call <= times; ++call) {
        fault_point(point, "the-file");
        std::cout << "passed " << call << std::endl;
    }
}

void change_value(const std::string& point, int times) {
    for (int call = 1; call <= times; ++call) std::cout << fault_value(point, 2) << std::endl;
}

void run(const std::string& job, const std::string& first, const std::string& second) {
    if (job == "publish") return publish(first, second);
    if (job == "rename") return rename_durably(first, second);
    if (job == "publish-on-small-disk") return publish_on_small_disk(first);
    if (job == "preallocate-on-small-disk") return preallocate_on_small_disk(first);
    if (job == "append-rows") return append_rows(first, std::stoull(second));
    if (job == "append-through-a-full-disk") return append_through_a_full_disk(first);
    if (job == "serve-a-run") serve_a_run(first, second);
    if (job == "expose") expose(first);
    if (job == "openmetrics-step") return print_openmetrics(first, std::stoull(second), CurveAxis::step);
    if (job == "openmetrics-tokens") return print_openmetrics(first, std::stoull(second), CurveAxis::tokens);
    if (job == "point") return pass_point(first, std::stoi(second));
    if (job == "value") return change_value(first, std::stoi(second));
    throw UsageError("unknown job '{}'", job);
}

}  // namespace
}  // namespace kiban::monitoring

int main(int count, char** arguments) {
    const auto argument = [&](int index) { return index < count ? std::string(arguments[index]) : std::string(); };
    try {
        kiban::monitoring::run(argument(1), argument(2), argument(3));
        return kiban::kExitDone;
    } catch (const std::exception& error) {
        std::cout << error.what() << std::endl;
        return kiban::exit_code_of(error);
    }
}
