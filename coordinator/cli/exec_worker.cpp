// SPDX-License-Identifier: Apache-2.0
// kiban exec-worker: how a rank starts. Reads this node's CPUID, sets the environment, becomes kiban-worker.
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <system_error>
#include <thread>

#include "coordinator/cli/commands.h"
#include "coordinator/launch/environment.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

struct Rank {
    std::string run_dir;
    std::uint32_t attempt = 0;
    int workers = 0;
    int threads = 1;
};

// Some file systems show a new file to other nodes only after a while.
void await_run_directory(const Rank& rank) {
    constexpr double kPatienceSeconds = 30;
    const auto file = address_file(rank.run_dir, rank.attempt);
    std::error_code error;
    for (const double end = monotonic_seconds() + kPatienceSeconds; !std::filesystem::exists(file, error);) {
        if (monotonic_seconds() > end) {
            std::array<char, 256> host{};
            ::gethostname(host.data(), host.size() - 1);
            throw ConfigError(
                "host '{}' does not see the run directory '{}': '{}' was written before the workers were started; "
                "choose "
                "one on a file system that every node mounts",
                host.data(), rank.run_dir, file.string());
        }
        std::this_thread::sleep_for(std::chrono::milliseconds(100));
    }
}

[[noreturn]] void become_worker(const Rank& rank) {
    await_run_directory(rank);
    Environment wanted = worker_environment(cpu_of_this_machine(), rank.threads, current_environment());
    wanted["KIBAN_RUN_DIR"] = rank.run_dir;
    wanted["KIBAN_ATTEMPT"] = std::to_string(rank.attempt);
    wanted["KIBAN_WORLD"] = std::to_string(rank.workers);
    for (const auto& [name, value] : wanted) ::setenv(name.c_str(), value.c_str(), /*overwrite=*/1);
    const std::string program = worker_executable().string();
    ::execl(program.c_str(), program.c_str(), static_cast<char*>(nullptr));
    throw ConfigError("cannot become '{}': {}", program, std::strerror(errno));
}

}  // namespace

void add_exec_worker_command(CLI::App& app, int&) {
    CLI::App* command =
        app.add_subcommand("exec-worker", "how a rank starts: sets the environment, becomes kiban-worker")->group("");
    auto rank = std::make_shared<Rank>();
    command->add_option("--run-dir", rank->run_dir, "where the control channel's files are")->required();
    command->add_option("--attempt", rank->attempt, "attempt number")->required();
    command->add_option("--workers", rank->workers, "expected world size")->required();
    command->add_option("--threads", rank->threads, "threads of one worker")->required();
    command->callback([rank] { become_worker(*rank); });
}

}  // namespace kiban::coordinator
