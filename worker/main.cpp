// SPDX-License-Identifier: Apache-2.0
// kiban-worker: one rank of the MPI step. Started by `kiban exec-worker`, which sets the environment.
#include <csignal>

#include "checkpoint/background_writer.h"
#include "coordinator/protocol/worker_channel.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"
#include "worker/comm/comm_thread.h"
#include "worker/comm/mpi_environment.h"
#include "worker/train/jobs.h"
#include "worker/train/launched_as.h"
#include "worker/train/stacks.h"

namespace kiban::worker {
namespace {

constexpr double kDialSeconds = 60;  // for the coordinator to answer the hello

void report(coordinator::WorkerChannel& channel, const std::exception& error, std::uint64_t step) noexcept {
    try {
        channel.send(coordinator::Failure{type_name_of(error), error.what(), step, exit_code_of(error)});
    } catch (const std::exception& lost) {
        monitoring::log_error("cannot tell the coordinator: {}", lost.what());
    }
}

void start_worker_log(const LaunchedAs& launched, int rank) {
    monitoring::make_directories(launched.log_directory());
    monitoring::start_log(
        {.who = fmt::format("worker {}", rank), .file = launched.log_directory() / fmt::format("worker-{}.log", rank)});
}

void run(const LaunchedAs& launched, const MpiEnvironment& mpi, checkpoint::BackgroundWriter& writer) {
    const Group world = mpi.world(launched.world_size);  // before anything is written
    start_worker_log(launched, world.rank());
    const Runtime runtime = start_runtime();
    monitoring::log_info("process {} on {}: {}, {} threads, LibTorch {}, {}, HDF5 {}", runtime.pid, runtime.host,
                         runtime.kernels, runtime.threads, runtime.torch_version, runtime.mpi_version,
                         runtime.hdf5_version);
    coordinator::WorkerChannel channel(launched.run_dir, launched.attempt, hello_of(runtime, world), kDialSeconds);
    channel.set_stacks(stacks_of_all_threads);
    Control control(channel);
    control.keep_whereabouts(coordinator::whereabouts_file(launched.log_directory(), world.rank()));
    try {
        run_job(world, runtime, writer, control);
    } catch (const std::exception& error) {
        report(channel, error, control.step());
        throw;
    }
}

}  // namespace
}  // namespace kiban::worker

int main() {
    using namespace kiban;
    std::signal(SIGUSR1, SIG_IGN);  // a stop comes from the coordinator
    worker::prepare_stacks();       // SIGUSR2, which asks for nothing else
    monitoring::start_log({.who = "worker", .file = {}});
    try {
        const auto launched = worker::LaunchedAs::from_environment();
        const worker::MpiEnvironment mpi;
        const worker::CommThread communication;  // out here: its end waits for peers, an abort must not
        checkpoint::BackgroundWriter writer;     // likewise, for the disk
        try {
            worker::run(launched, mpi, writer);
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
