// SPDX-License-Identifier: Apache-2.0
// What training does about stops, and about what operators ask for.
#include "coordinator/config/changes.h"
#include "coordinator/run/train.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {

bool TrainMode::request_stop(CoordinatorChannel& channel, const std::string& reason) {
    if (!loaded_) return false;
    channel.send(0, Stop{reason});
    session_.board.journal.try_add("stop_requested", {{"reason", reason}});
    return true;
}

void TrainMode::on_request(CoordinatorChannel& channel, const Request& request) {
    if (request.verb == "extend") return on_extension(channel, request);
    if (request.verb == "set") return on_setting(channel, request);
    if (request.verb == "trace-steps") return on_trace(channel, request);
    session_.board.journal.try_add("save_requested", {{"by", request.by}});
    training_.wishes.add(request.id, training_.step);
    if (!loaded_) return;
    serve_wishes(channel);
}

// What the newest checkpoint holds already is there; for the others worker 0 is asked.
void TrainMode::serve_wishes(CoordinatorChannel& channel) {
    if (training_.durable_progress > 0)
        answer_wishes(training_.durable_progress - 1, {.done = true, .text = checkpoint_text()});
    if (!training_.wishes.empty()) channel.send(0, SaveSoon{"an operator's wish"});
}

void TrainMode::answer_wishes(std::uint64_t step, const Answer& answer) {
    for (const std::string& id : training_.wishes.take_up_to(step)) session_.requests.answer(id, answer);
}

std::string TrainMode::checkpoint_text() const {
    const RunStatus& status = session_.board.status;
    return fmt::format("checkpoint of step {} is durable: {}", status.checkpoint_step, status.checkpoint);
}

void TrainMode::on_trace(CoordinatorChannel& channel, const Request& request) {
    try {
        if (!loaded_) throw ConfigError("the workers are starting; ask again when they train");
        trace_.begin(request);
    } catch (const Error& error) {
        session_.requests.answer(request.id, {.done = false, .text = error.what()});
        return;
    }
    channel.send(0, TraceSteps{request.steps});
}

// What only the coordinator looks at changes at once; the workers' job is as it was.
void TrainMode::on_setting(CoordinatorChannel& channel, const Request& request) {
    std::string told;
    try {
        RunFile changed = session_.run_file;
        const auto changes = change_live(changed, request.settings);
        if (changed.train.steps != session_.run_file.train.steps) {
            throw ConfigError("train.steps needs a save and a resume: kiban extend RUN_DIR --steps {}",
                              changed.train.steps);
        }
        RunFile kept = changed;
        kept.launch.workers = session_.asked_workers;
        monitoring::publish(session_.directory.run_file(), to_toml(kept));
        for (const LiveChange& change : changes) {
            session_.board.journal.add(
                "set", {{"key", change.key}, {"from", change.from}, {"to", change.to}, {"by", request.by}});
            told += fmt::format("{}{}: was {}, is {}", told.empty() ? "" : "; ", change.key, change.from, change.to);
        }
        session_.run_file = changed;
    } catch (const Error& error) {
        session_.requests.answer(request.id, {.done = false, .text = error.what()});
        return;
    }
    monitoring::log_info("set by {}: {}", request.by, told);
    save_.retain(session_.run_file.checkpoint.keep, session_.run_file.checkpoint.milestone_steps);
    if (loaded_) choose_interval(channel);
    session_.requests.answer(request.id, {.done = true, .text = told});
}

// Save, and begin another attempt with more steps: the way of a resume, so that nothing is special about it.
void TrainMode::on_extension(CoordinatorChannel& channel, const Request& request) {
    try {
        if (!loaded_) throw ConfigError("the workers are starting; ask again when they train");
        if (session_.extension)
            throw ConfigError("it is being extended to {} steps already", session_.extension->steps);
        if (request.steps <= session_.run_file.train.steps) {
            throw ConfigError("train.steps: expected more than the {} that it has, found {}",
                              session_.run_file.train.steps, request.steps);
        }
        RunFile extended = session_.run_file;
        extended.train.steps = request.steps;
        parse_run_file(to_toml(extended), session_.run_file.base, "the extended run file");
    } catch (const Error& error) {
        session_.requests.answer(request.id, {.done = false, .text = error.what()});
        return;
    }
    session_.extension = request;
    channel.send(0, Stop{fmt::format("the run is extended to {} steps", request.steps)});
}

// A save in the background may be slow on purpose: it is the measure only where there was no other. One that is under
// way comes before the last one.
double TrainMode::seconds_to_leave() const {
    if (!loaded_) return 0;
    const double save = training_.longest_waited_save > 0 ? training_.longest_waited_save : training_.write_seconds;
    const double under_way = session_.board.status.checkpoint_queued ? training_.write_seconds : 0;
    return 1.5 * save + under_way + 2 * training_.step_seconds + training_.evaluation_seconds;
}

}  // namespace kiban::coordinator
