// SPDX-License-Identifier: Apache-2.0
// kiban-worker: one rank of the MPI step. Started by `kiban exec-worker`, which sets KIBAN_RUN_DIR, KIBAN_ATTEMPT, KIBAN_WORLD and the environment
// of the mathematical libraries.
#include <charconv>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <string_view>

#include "coordinator/protocol/worker_channel.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"
#include "worker/comm/mpi_environment.h"
#include "worker/train/jobs.h"

namespace kiban::worker {
namespace {

constexpr double kDialSeconds = 60;  // for the coordinator to answer the hello

std::string_view variable(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) throw ConfigError("{} is not set: kiban-worker is started by 'kiban pretrain', not by hand", name);
    return value;
}

int number_in(const char* name) {
    const std::string_view text = variable(name);
    int number = 0;
    if (std::from_chars(text.data(), text.data() + text.size(), number).ptr != text.data() + text.size() || number < 1) {
        throw ConfigError("{}: expected a number of at least 1, found '{}'", name, text);
    }
    return number;
}

void report(coordinator::WorkerChannel& channel, const std::exception& error, std::uint64_t step) noexcept {
    try {
        channel.send(coordinator::Failure{type_name_of(error), error.what(), step, exit_code_of(error)});
    } catch (const std::exception& lost) {
        monitoring::log_error("cannot tell the coordinator: {}", lost.what());
    }
}

void run(const MpiEnvironment& mpi) {
    const std::filesystem::path run_dir = variable("KIBAN_RUN_DIR");
    const int attempt = number_in("KIBAN_ATTEMPT");
    const Group world = mpi.world(number_in("KIBAN_WORLD"));  // before anything is written
    const std::filesystem::path log_dir = run_dir / "logs" / fmt::format("attempt-{}", attempt);
    monitoring::make_directories(log_dir);
    monitoring::start_log({.who = fmt::format("worker {}", world.rank()), .file = log_dir / fmt::format("worker-{}.log", world.rank())});
    const Runtime runtime = start_runtime();
    monitoring::log_info("process {} on {}: {} BLAS kernels, {} threads, LibTorch {}, {}, HDF5 {}", runtime.pid, runtime.host, runtime.kernels,
                         runtime.threads, runtime.torch_version, runtime.mpi_version, runtime.hdf5_version);
    coordinator::WorkerChannel channel(run_dir, static_cast<std::uint32_t>(attempt), hello_of(runtime, world), kDialSeconds);
    Control control(channel);
    try {
        run_job(world, runtime, control);
    } catch (const std::exception& error) {
        report(channel, error, control.step());
        throw;
    }
}

}  // namespace
}  // namespace kiban::worker

int main() {
    using namespace kiban;
    for (const int ignored : {SIGUSR1, SIGUSR2}) std::signal(ignored, SIG_IGN);  // a stop comes through the coordinator
    monitoring::start_log({.who = "worker", .file = {}});
    try {
        const worker::MpiEnvironment mpi;
        try {
            worker::run(mpi);
            return kExitDone;
        } catch (const std::exception& error) {
            monitoring::log_error("{}: {}", type_name_of(error), error.what());
            mpi.abort(exit_code_of(error));  // never waits for peers that are still in a collective
        }
    } catch (const std::exception& error) {
        monitoring::log_error("{}: {}", type_name_of(error), error.what());
        return exit_code_of(error);
    }
}
