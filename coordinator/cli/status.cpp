// SPDX-License-Identifier: Apache-2.0
// kiban status RUN_DIR: state, step, tokens, loss, time left, last durable checkpoint, workers, events.
#include "coordinator/run/status.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <memory>
#include <thread>

#include "checkpoint/commit.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/dashboard.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/cli/readable.h"
#include "coordinator/cli/terminal.h"
#include "coordinator/protocol/wire.h"
#include "coordinator/run/journal.h"
#include "monitoring/curve.h"

namespace kiban::coordinator {
namespace {

constexpr std::size_t kEventsShown = 8;

struct StatusOptions {
    std::filesystem::path run_dir;
    bool json = false;
    bool watch = false;
};

std::vector<std::string> last_events(const RunDirectory& directory, bool everything) {
    std::vector<std::string> events;
    for (const auto& entry : read_journal(directory.journal())) {
        const std::string event = entry.value("event", "");
        if (everything || (event != "checkpoint" && event != "curve")) events.push_back(describe(entry));
    }
    events.erase(events.begin(), events.end() - static_cast<std::ptrdiff_t>(std::min(events.size(), kEventsShown)));
    return events;
}

std::string life_text(const RunView& view) {
    const RunStatus& status = view.status;
    const std::string coordinator = fmt::format("coordinator process {} on {}", status.pid, status.host);
    switch (view.life) {
        case Life::none: return status.state;
        case Life::ended:
            return status.message.empty() ? status.state : fmt::format("{}: {}", status.state, status.message);
        case Life::running: return fmt::format("{} ({})", status.state, coordinator);
        case Life::dead:
            return fmt::format("dead: its {} is gone, it was {}; start the same kiban pretrain again to resume",
                               coordinator, status.state);
        case Life::unknown:
            return fmt::format("{} ({}, last heard {} ago)", status.state, coordinator,
                               duration_text(view.silence_seconds));
    }
    return status.state;
}

std::string life_word(Life life) {
    switch (life) {
        case Life::none: return "none";
        case Life::ended: return "ended";
        case Life::running: return "running";
        case Life::dead: return "dead";
        case Life::unknown: return "unknown";
    }
    return "unknown";
}

void line(std::string& out, const char* what, const std::string& text) {
    if (!text.empty()) out += fmt::format("  {:<11} {}\n", what, text);
}

std::string progress_text(const RunStatus& status) {
    if (status.steps == 0) return fmt::format("{}", status.step);
    return fmt::format("{} of {} ({:.1f} %)", status.step, status.steps,
                       100.0 * static_cast<double>(status.step) / static_cast<double>(status.steps));
}

void add_training(std::string& out, const RunStatus& status) {
    line(out, "step", progress_text(status));
    const std::string speed =
        status.tokens_per_second > 0 ? fmt::format(", {:.0f} a second", status.tokens_per_second) : "";
    line(out, "tokens", count_text(status.tokens) + speed);
    if (std::isfinite(status.loss)) line(out, "loss", fmt::format("{:.4f} nats a token", status.loss));
    if (std::isfinite(status.eval_loss)) line(out, "holdout", fmt::format("{:.4f} nats a token", status.eval_loss));
    line(out, "phase", status.phase);
    for (const std::string& event : status.curve_events) line(out, "curve", event);
    if (status.eta_seconds > 0) line(out, "time left", duration_text(status.eta_seconds));
    line(
        out, "checkpoint",
        status.checkpoint.empty() ? "none yet" : fmt::format("step {}, {}", status.checkpoint_step, status.checkpoint));
    if (status.checkpoint_queued)
        line(out, "queued", fmt::format("checkpoint of step {}, not durable yet", status.checkpoint_queued_step));
}

std::string text_of(const RunDirectory& directory, const RunView& view) {
    const RunStatus& status = view.status;
    std::string out = fmt::format("run {}, attempt {}, {} restarts: {}\n", status.run, status.attempt, status.restarts,
                                  life_text(view));
    if (status.state == "preparing" && status.tasks_total > 0) {
        line(out, "preparing",
             fmt::format("{} of {} tasks, {} of {}, {} a second", status.tasks_done, status.tasks_total,
                         bytes_text(status.prepared_bytes), bytes_text(status.input_bytes),
                         bytes_text(static_cast<std::uint64_t>(status.prepared_bytes_per_second))));
        line(out, "documents",
             fmt::format("{}, {} tokens", count_text(status.prepared_documents), count_text(status.prepared_tokens)));
    }
    const bool only_prepared =
        status.state == "prepared" && status.step == 0;  // kiban prepare: no training was asked for
    if (!only_prepared) add_training(out, status);
    line(out, "decision", status.decision);
    if (!status.excluded_hosts.empty())
        line(out, "without", fmt::format("hosts {}", fmt::join(status.excluded_hosts, ", ")));
    if (status.refused_steps > 0) line(out, "refused", fmt::format("{} steps", status.refused_steps));
    line(out, "metrics", status.metrics);
    for (const WorkerStatus& worker : status.workers) {
        line(out, fmt::format("worker {}", worker.rank).c_str(),
             fmt::format("{} process {}, {} at step {}, {} resident, {} optimizer, heard {} ago{}", worker.host,
                         worker.pid, worker.phase, worker.step, bytes_text(worker.resident_bytes),
                         bytes_text(worker.optimizer_bytes), duration_text(worker.heartbeat_age_seconds),
                         worker.straggler ? fmt::format(", a straggler: {:.3f} s a step", worker.own_seconds) : ""));
    }
    // The last checkpoint and what the curve did stand above; many of them would hide what happened.
    for (const std::string& event : last_events(directory, /*everything=*/false)) line(out, "event", event);
    return out;
}

// The status first and the workers last, so that simple tools find the run's own step before any worker's.
nlohmann::ordered_json json_of(const RunDirectory& directory, const RunView& view) {
    const nlohmann::json status = to_json(view.status);
    nlohmann::ordered_json out;
    out["life"] = life_word(view.life);
    for (const auto& [key, value] : status.items()) {
        if (key != "workers") out[key] = value;
    }
    out["status_age_seconds"] = view.silence_seconds;
    out["checkpoints"] = nlohmann::json::array();
    const auto promoted = checkpoint::promoted_checkpoints(directory.root());
    const auto pinned = checkpoint::pinned_checkpoints(directory.root());
    const auto is_in = [](const std::vector<std::string>& names, const std::filesystem::path& checkpoint) {
        return std::find(names.begin(), names.end(), checkpoint.filename().string()) != names.end();
    };
    for (const auto& checkpoint : checkpoint::list_checkpoints(directory.root())) {
        out["checkpoints"].push_back({{"directory", checkpoint.directory.string()},
                                      {"step", checkpoint.step},
                                      {"bytes", checkpoint.bytes},
                                      {"promoted", is_in(promoted, checkpoint.directory)},
                                      {"pinned", is_in(pinned, checkpoint.directory)}});
    }
    out["events"] = last_events(directory, /*everything=*/true);
    out["workers"] = status.at("workers");
    return out;
}

void show(const RunDirectory& directory, const RunView& view, const StatusOptions& options) {
    const std::string text =
        options.json ? json_of(directory, view)
                               .dump(options.watch ? -1 : 2, ' ', false, nlohmann::json::error_handler_t::replace) +
                           "\n"
                     : text_of(directory, view);
    std::fputs(text.c_str(), stdout);
    std::fflush(stdout);
}

bool goes_on(const RunView& view) { return view.life == Life::running || view.life == Life::unknown; }

// The record, read again at most each second, and so seldom that reading a long one takes a twentieth of the time.
class RecordedRows {
  public:
    explicit RecordedRows(const RunDirectory& directory) : directory_(directory) {}

    const std::vector<monitoring::CurveRow>& now() {
        const double before = monotonic_seconds();
        if (before < next_) return rows_;
        rows_ = monitoring::read_curve(directory_.curve()).rows;
        const double after = monotonic_seconds();
        next_ = after + std::max(1.0, 20 * (after - before));
        return rows_;
    }

  private:
    const RunDirectory& directory_;
    std::vector<monitoring::CurveRow> rows_;
    double next_ = 0;
};

// Until the run ends or the viewer leaves. True when the viewer left.
bool watch_on_screen(const RunDirectory& directory) {
    RecordedRows rows(directory);
    Terminal terminal;
    for (RunView view = view_run(directory); goes_on(view); view = view_run(directory)) {
        const auto events = last_events(directory, /*everything=*/false);
        terminal.show(dashboard(view, life_text(view), rows.now(), events, terminal.screen()));
        if (!terminal.wait(1)) return true;
    }
    return false;
}

void status(const StatusOptions& options) {
    const RunDirectory directory = named_run(options.run_dir);
    const bool screen = options.watch && !options.json && Terminal::is_there();
    if (screen && watch_on_screen(directory)) return;
    while (true) {
        const RunView view = view_run(directory);
        show(directory, view, options);
        if (!options.watch || !goes_on(view)) return;
        std::this_thread::sleep_for(std::chrono::seconds(1));
    }
}

}  // namespace

void add_status_command(CLI::App& app, int& /*exit_code*/) {
    CLI::App* command =
        app.add_subcommand("status", "state, step, tokens, loss, time left, last checkpoint, workers, events");
    auto options = std::make_shared<StatusOptions>();
    command->add_option("RUN_DIR", options->run_dir, "run directory")->required();
    command->add_flag("--json", options->json, "for machines");
    command->add_flag("--watch", options->watch,
                      "again each second, until the run ends; in a terminal with its curves");
    command->callback([options] { status(*options); });
}

}  // namespace kiban::coordinator
