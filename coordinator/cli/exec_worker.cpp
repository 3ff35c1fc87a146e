// SPDX-License-Identifier: Apache-2.0
// kiban exec-worker: how a rank starts. Reads this node's CPUID, sets the environment, becomes kiban-worker.
#include <CLI/CLI.hpp>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

#include "coordinator/cli/commands.h"
#include "coordinator/launch/environment.h"
#include "coordinator/launch/launcher.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

struct Rank {
    std::string run_dir;
    std::uint32_t attempt = 0;
    int workers = 0;
    int threads = 1;
};

[[noreturn]] void become_worker(const Rank& rank) {
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
