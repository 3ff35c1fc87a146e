// SPDX-License-Identifier: Apache-2.0
// kiban save | stop | extend RUN_DIR: asks the run's coordinator through its directory and says what came of it.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <thread>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/run/requests.h"
#include "monitoring/error.h"
#include "monitoring/exit_codes.h"

namespace kiban::coordinator {
namespace {

struct AskOptions {
    std::filesystem::path run_dir;
    std::uint64_t steps = 0;
    bool no_wait = false;
    double timeout_seconds = 0;  // 0: as long as the coordinator lives
};

bool may_answer(const RunView& view) { return view.life == Life::running || view.life == Life::unknown; }

std::string what_to_do(const std::string& verb, const AskOptions& options) {
    const std::string dir = options.run_dir.string();
    if (verb == "save") return "its newest checkpoint is what there is: kiban inspect " + dir;
    if (verb == "stop") return "there is nothing to stop";
    return fmt::format("start it with kiban pretrain {} --set train.steps={}", (options.run_dir / "run.toml").string(),
                       options.steps);
}

[[noreturn]] void refuse_unheard(const std::string& verb, const AskOptions& options, const std::string& why) {
    throw ConfigError("cannot {} '{}': {}; {}", verb, options.run_dir.string(), why, what_to_do(verb, options));
}

Answer wait_for_answer(const RunDirectory& directory, const std::string& verb, const std::string& id,
                       const AskOptions& options) {
    constexpr auto kPause = std::chrono::milliseconds(100);
    constexpr double kLookSeconds = 2;
    const double began = monotonic_seconds();
    for (double next_look = began + kLookSeconds;; std::this_thread::sleep_for(kPause)) {
        if (auto answer = take_answer(directory.root(), id)) return *answer;
        const double now = monotonic_seconds();
        const bool too_long = options.timeout_seconds > 0 && now > began + options.timeout_seconds;
        if (!too_long && now < next_look) continue;
        next_look = now + kLookSeconds;
        const bool lives = may_answer(view_run(directory));
        if (auto answer = take_answer(directory.root(), id)) return *answer;  // its last act
        if (!too_long && lives) continue;
        withdraw_request(directory.root(), id);
        refuse_unheard(verb, options,
                       lives ? fmt::format("no answer in {:.0f} s, the request is withdrawn", options.timeout_seconds)
                             : "its coordinator is gone without an answer");
    }
}

void ask(const std::string& verb, const AskOptions& options, int& exit_code) {
    const RunDirectory directory = named_run(options.run_dir);
    if (!may_answer(view_run(directory))) refuse_unheard(verb, options, "no coordinator drives it");
    const std::string id = place_request(directory.root(), {.id = "", .verb = verb, .steps = options.steps, .by = ""});
    if (options.no_wait) {
        fmt::print("asked; the answer will be in {}\n",
                   (directory.root() / "requests" / fmt::format("{}.answer.json", id)).string());
        return;
    }
    const Answer answer = wait_for_answer(directory, verb, id, options);
    if (answer.done) {
        fmt::print("{}\n", answer.text);
        return;
    }
    std::fputs(fmt::format("kiban: {} was not done: {}\n", verb, answer.text).c_str(), stderr);
    exit_code = verb == "save" ? kExitIo : kExitConfiguration;
}

CLI::App* add_command(CLI::App& app, const std::string& verb, const char* what, int& exit_code) {
    CLI::App* command = app.add_subcommand(verb, what);
    auto options = std::make_shared<AskOptions>();
    command->add_option("RUN_DIR", options->run_dir, "run directory")->required();
    if (verb == "extend") {
        command->add_option("--steps", options->steps, "train.steps from now on")->required();
    }
    command->add_flag("--no-wait", options->no_wait, "ask, and do not wait for the answer");
    command->add_option("--timeout", options->timeout_seconds, "seconds to wait; 0: as long as the coordinator lives")
        ->check(CLI::NonNegativeNumber);
    command->callback([verb, options, &exit_code] { ask(verb, *options, exit_code); });
    return command;
}

}  // namespace

void add_ask_commands(CLI::App& app, int& exit_code) {
    add_command(app, "save", "a checkpoint at the next step of a live run; says when it is durable", exit_code);
    add_command(app, "stop", "save at the next step of a live run, then end it; the same command continues it",
                exit_code);
    add_command(app, "extend", "more steps for a live run, which goes on", exit_code);
}

}  // namespace kiban::coordinator
