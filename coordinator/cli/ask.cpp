// SPDX-License-Identifier: Apache-2.0
// kiban save | stop | extend | set | trace-steps RUN_DIR: asks the run's coordinator through its directory and says
// what came of it.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <memory>
#include <string>
#include <thread>
#include <vector>

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
    std::vector<std::string> settings;
    bool no_wait = false;
    double timeout_seconds = 0;  // 0: as long as the coordinator lives
};

// Of a coordinator on another machine it is known by the status that it renews every second.
class Listener {
  public:
    explicit Listener(const RunDirectory& directory) : directory_(directory) {}

    bool may_answer() {
        const RunView view = view_run(directory_);
        if (view.life != Life::unknown) return view.life == Life::running;
        const double now = monotonic_seconds();
        if (view.status.wall_time != written_) {
            written_ = view.status.wall_time;
            seen_ = now;
        }
        return now < seen_ + kSilentSeconds;
    }

  private:
    static constexpr double kSilentSeconds = 20;
    const RunDirectory& directory_;
    double written_ = 0;
    double seen_ = 0;
};

std::string what_to_do(const std::string& verb, const AskOptions& options) {
    const std::string dir = options.run_dir.string();
    if (verb == "save") return "its newest checkpoint is what there is: kiban inspect " + dir;
    if (verb == "stop") return "there is nothing to stop";
    if (verb == "set") return "give its next start --set " + options.settings.front();
    if (verb == "trace-steps") return "where the time went in all is in kiban report";
    return fmt::format("start it with kiban pretrain {} --set train.steps={}", (options.run_dir / "run.toml").string(),
                       options.steps);
}

[[noreturn]] void refuse_unheard(const std::string& verb, const AskOptions& options, const std::string& why) {
    throw ConfigError("cannot {} '{}': {}; {}", verb, options.run_dir.string(), why, what_to_do(verb, options));
}

Answer wait_for_answer(const RunDirectory& directory, Listener& listener, const std::string& verb,
                       const std::string& id, const AskOptions& options) {
    constexpr auto kPause = std::chrono::milliseconds(100);
    constexpr double kLookSeconds = 2;
    const double began = monotonic_seconds();
    for (double next_look = began + kLookSeconds;; std::this_thread::sleep_for(kPause)) {
        if (auto answer = take_answer(directory.root(), id)) return *answer;
        const double now = monotonic_seconds();
        const bool too_long = options.timeout_seconds > 0 && now > began + options.timeout_seconds;
        if (!too_long && now < next_look) continue;
        next_look = now + kLookSeconds;
        const bool lives = listener.may_answer();
        if (auto answer = take_answer(directory.root(), id)) return *answer;  // its last act
        if (!too_long && lives) continue;
        const bool withdrawn = withdraw_request(directory.root(), id);
        if (!withdrawn) {  // it may have answered in this instant
            if (auto answer = take_answer(directory.root(), id)) return *answer;
        }
        if (!lives) refuse_unheard(verb, options, "its coordinator is gone without an answer");
        throw ConfigError(
            "no answer to '{}' in {:.0f} s; {}", verb, options.timeout_seconds,
            withdrawn ? "the request is withdrawn" : "the coordinator has taken the request and will act on it");
    }
}

void ask(const std::string& verb, const AskOptions& options, int& exit_code) {
    const RunDirectory directory = named_run(options.run_dir);
    Listener listener(directory);
    if (!listener.may_answer()) refuse_unheard(verb, options, "no coordinator drives it");
    const std::string id = place_request(
        directory.root(), {.id = "", .verb = verb, .steps = options.steps, .by = "", .settings = options.settings});
    if (options.no_wait) {
        fmt::print("asked; the answer will be in {}\n",
                   (directory.root() / "requests" / fmt::format("{}.answer.json", id)).string());
        return;
    }
    const Answer answer = wait_for_answer(directory, listener, verb, id, options);
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
    if (verb == "set") {
        command->add_option("KEY=VALUE", options->settings, "live keys of the run file (coordinator/RUN_FILE.md)")
            ->required();
    }
    if (verb == "trace-steps") {
        options->steps = 5;
        command->add_option("--steps", options->steps, "how many (5)");
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
    add_command(app, "set", "changes live keys of a run that runs; later starts know it", exit_code);
    add_command(app, "extend", "more steps for a live run, which goes on", exit_code);
    add_command(app, "trace-steps", "what each rank does when in the next steps of a live run, for Chrome or Perfetto",
                exit_code);
}

}  // namespace kiban::coordinator
