// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/replay.h"

#include <bit>
#include <chrono>
#include <cmath>

#include "checkpoint/commit.h"
#include "checkpoint/imported.h"
#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/job/left_out.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/run/history.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/pretrain.h"
#include "coordinator/run/reading_mark.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/run_order.h"
#include "coordinator/run/tool.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::CurveRow;
using monitoring::log_info;

bool same_bits(double a, double b) { return std::bit_cast<std::uint64_t>(a) == std::bit_cast<std::uint64_t>(b); }

class ReplayMode : public AttemptMode {
  public:
    ReplayMode(Job job, const std::vector<CurveRow>& rows, std::size_t first, std::uint32_t attempt,
               std::set<std::uint32_t> inexact)
        : job_(std::move(job)), rows_(rows), next_(first), attempt_(attempt), inexact_(std::move(inexact)) {}

    void joined(CoordinatorChannel& channel) override { channel.send_to_all(job_); }

    void on_message(CoordinatorChannel&, int rank, const WorkerMessage& message) override {
        if (const auto* loaded = std::get_if<LoadResult>(&message)) {
            if (!loaded->error.empty()) {
                throw CheckpointError("cannot replay from '{}': {}", loaded->checkpoint, loaded->error);
            }
            level_ = loaded->exactness;
            log_info("replaying from '{}' ({})", loaded->checkpoint, level_);
        } else if (const auto* step = std::get_if<StepReport>(&message)) {
            KIBAN_CHECK(next_ < rows_.size() && rows_[next_].step == step->step,
                        "step {} was replayed where the curve goes on with step {}", step->step,
                        next_ < rows_.size() ? rows_[next_].step : 0);
            add(rows_[next_++], *step);
        } else if (std::holds_alternative<StepRefused>(message)) {  // as it was: it has no row either
        } else if (std::holds_alternative<Health>(message)) {       // is in no record
        } else {
            throw InternalError("worker {} sent a message that has no place in a replay", rank);
        }
    }

    bool request_stop(CoordinatorChannel&, const std::string&) override { return false; }
    std::uint64_t progress() const override { return 0; }

    const std::string& level() const { return level_; }
    const ReplayComparison& comparison() const { return comparison_; }

  private:
    // Behind a resume that was not exact, the record is of another world.
    void add(const CurveRow& recorded, const StepReport& replayed) {
        if (recorded.attempt != attempt_ && inexact_.contains(recorded.attempt)) same_world_ = false;
        comparison_.add(recorded, replayed, same_world_);
    }

    Job job_;
    const std::vector<CurveRow>& rows_;
    std::size_t next_;
    std::uint32_t attempt_;  // of the checkpoint
    std::set<std::uint32_t> inexact_;
    bool same_world_ = true;
    std::string level_;
    ReplayComparison comparison_;
};

std::size_t rows_up_to(const std::vector<CurveRow>& rows, std::uint64_t step) {
    std::size_t count = 0;
    while (count < rows.size() && rows[count].step <= step) ++count;
    return count;
}

// Imported weights belong to no world and run file: there is no resume of them to verify. Nor of what retention has
// taken away in this instant.
bool has_a_resume(const std::filesystem::path& directory) {
    try {
        if (checkpoint::quick_fault(directory)) return false;
        const checkpoint::CheckpointReader reader(directory);
        return !checkpoint::is_unbound(checkpoint::run_state_from_json(reader.state()));
    } catch (const Error&) {
        if (monitoring::anything_at(directory)) throw;
        return false;
    }
}

checkpoint::CheckpointInfo chosen_checkpoint(const std::filesystem::path& run_dir, const std::vector<CurveRow>& rows,
                                             std::uint64_t steps) {
    std::vector<checkpoint::CheckpointInfo> good;
    std::vector<std::uint64_t> at;
    for (const auto& candidate : checkpoint::list_checkpoints(run_dir)) {
        if (!has_a_resume(candidate.directory)) continue;
        good.push_back(candidate);
        at.push_back(candidate.step);
    }
    return good[replayable(at, rows, steps)];
}

void refuse_another_run_file(const checkpoint::CheckpointInfo& from, const RunFile& now) {
    const checkpoint::CheckpointReader reader(from.directory);
    const auto state = checkpoint::run_state_from_json(reader.state());
    const RunFile saved = parse_saved_run_file(state.run_file, now.base, from.directory.string());
    const auto forbidden = forbidden_changes(saved, now);
    if (forbidden.empty()) return;
    throw ConfigError("cannot replay '{}' with this run file:\n  {}", from.directory.string(),
                      fmt::join(forbidden, "\n  "));
}

// The mixture is that of the run's record; a file may be asked for others only in the weights.
void refuse_other_sources(const RunDirectory& directory, const RunFile& now) {
    const std::size_t recorded = mixture_of_run(directory, now).back().weights.size();
    if (recorded == now.data.sources.size()) return;
    throw ConfigError(
        "cannot replay '{}' with this run file: expected {} sources, as the run last went on, found {}; name '{}'",
        directory.root().string(), recorded, now.data.sources.size(), directory.run_file().string());
}

nlohmann::json certificate(const checkpoint::CheckpointInfo& from, const RunFile& run_file, const ReplayMode& mode,
                           const std::optional<std::string>& fault) {
    const ReplayComparison& found = mode.comparison();
    return {
        {"format", 1},
        {"time",
         std::chrono::duration_cast<std::chrono::seconds>(std::chrono::system_clock::now().time_since_epoch()).count()},
        {"checkpoint", from.directory.filename().string()},
        {"from_step", from.step},
        {"steps", found.steps},
        {"workers", run_file.launch.workers},
        {"threads_per_worker", run_file.launch.threads_per_worker},
        {"level", mode.level()},
        {"holds", !fault.has_value()},
        {"fault", fault.value_or("")},
        {"equal_steps", found.equal_steps},
        {"largest_relative_difference", found.largest_relative_difference},
        {"first_difference", found.first_difference.value_or("")}};
}

int conclude_replay(const std::filesystem::path& file, const checkpoint::CheckpointInfo& from, const RunFile& run_file,
                    const ReplayMode& mode) {
    const ReplayComparison& found = mode.comparison();
    const auto fault = fault_of(found, mode.level());
    monitoring::publish(file, certificate(from, run_file, mode, fault).dump(2) + "\n");
    if (fault) {
        monitoring::log_error("a resume from step {} is not {}: {} (exit code {}); see {}", from.step, mode.level(),
                              *fault, static_cast<int>(kExitIo), file.string());
        return kExitIo;
    }
    log_info("a resume from step {} is {}: {} of {} steps equal to the last bit{}; written to {}", from.step,
             mode.level(), found.equal_steps, found.steps,
             found.equal_steps == found.steps
                 ? ""
                 : fmt::format(", losses within {:.1e}", found.largest_relative_difference),
             file.string());
    return kExitDone;
}

}  // namespace

void ReplayComparison::add(const CurveRow& recorded, const StepReport& replayed, bool same_world) {
    ++steps;
    if (recorded.tokens != replayed.tokens || !same_bits(recorded.learning_rate, replayed.learning_rate)) {
        same_batches = false;
    }
    std::string difference;
    const auto compare = [&](const char* column, double was, double is) {
        if (!same_bits(was, is) && difference.empty()) difference = fmt::format("{} {}, recorded {}", column, is, was);
    };
    compare("tokens", static_cast<double>(recorded.tokens), static_cast<double>(replayed.tokens));
    compare("learning rate", recorded.learning_rate, replayed.learning_rate);
    compare("loss", recorded.loss, replayed.loss);
    compare("gradient norm", recorded.grad_norm, replayed.grad_norm);
    if (replayed.eval_loss && !std::isnan(recorded.eval_loss)) {
        compare("holdout loss", recorded.eval_loss, *replayed.eval_loss);
    }
    const bool no_loss = std::isnan(replayed.loss) && monitoring::without_targets(recorded);
    const double relative = no_loss ? 0 : std::abs(replayed.loss - recorded.loss) / std::abs(recorded.loss);
    if (!(relative <= largest_relative_difference) && !std::isnan(largest_relative_difference)) {
        largest_relative_difference = relative;  // what is no number stays
    }
    if (difference.empty()) {
        ++equal_steps;
    } else if (!first_difference && (same_world || !same_batches)) {
        first_difference = fmt::format("step {}: {} (attempt {})", replayed.step, difference, recorded.attempt);
    }
}

std::set<std::uint32_t> inexact_attempts(const std::vector<nlohmann::json>& journal) {
    std::set<std::uint32_t> attempts;
    for (const nlohmann::json& entry : journal) {
        if (entry.value("event", "") == "training" && entry.value("exactness", "exact") != "exact")
            attempts.insert(entry.value("attempt", 0U));
    }
    return attempts;
}

std::optional<std::string> fault_of(const ReplayComparison& comparison, const std::string& level) {
    if (comparison.steps == 0) return "no step was replayed";
    if (!comparison.same_batches) return comparison.first_difference;
    if (level == "exact" && comparison.first_difference) return comparison.first_difference;
    if (!(comparison.largest_relative_difference <= kSampleExactTolerance)) {
        return fmt::format("losses differ by up to {:.1e}, more than {:.0e} of them; first {}",
                           comparison.largest_relative_difference, kSampleExactTolerance,
                           comparison.first_difference.value_or("nowhere"));
    }
    return std::nullopt;
}

std::size_t replayable(const std::vector<std::uint64_t>& checkpoints, const std::vector<CurveRow>& rows,
                       std::uint64_t steps) {
    std::uint64_t most = 0;
    const std::uint64_t last = rows.empty() ? 0 : rows.back().step;
    for (std::size_t i = 0; i < checkpoints.size(); ++i) {
        const std::uint64_t after = last - std::min(checkpoints[i], last);
        if (after >= steps) return i;
        most = std::max(most, after);
    }
    throw CheckpointError(
        "cannot replay {} steps: the curve ends at step {}, and its {} good checkpoint(s) have at most {} recorded "
        "steps after them",
        steps, last, checkpoints.size(), most);
}

int verify_resume(const RunFile& run_file, std::uint64_t steps) {
    const RunDirectory directory(run_file.run_dir());
    if (!std::filesystem::exists(directory.run_file())) {
        throw ConfigError("'{}' is no run directory: '{}' is missing; there is no resume to verify",
                          directory.root().string(), directory.run_file().filename().string());
    }
    worker_executable();
    const monitoring::Curve curve = monitoring::read_curve(directory.curve());
    const auto from = chosen_checkpoint(directory.root(), curve.rows, steps);
    const ReadingMark mark(from.directory);
    refuse_another_run_file(from, run_file);
    refuse_other_sources(directory, run_file);
    const CorpusReference corpus = read_corpus_reference(directory);
    monitoring::start_log({.who = "replay", .file = {}, .to_stderr = true});
    ReplayMode mode({.mode = "replay",
                     .run_file = to_toml(run_file),
                     .manifest = corpus.manifest.string(),
                     .manifest_digest = corpus.digest,
                     .checkpoint = from.directory.string(),
                     .options = {{"steps", steps},
                                 {"left_out", to_json(left_out_rows(read_journal(directory.journal())))},
                                 {"mixture", data::to_json(mixture_of_run(directory, run_file))}}},
                    curve.rows, rows_up_to(curve.rows, from.step), from.attempt,
                    inexact_attempts(read_journal(directory.journal())));
    log_info("replaying {} steps after step {} with {} worker(s)", steps, from.step, run_file.launch.workers);
    const AttemptEnd end = run_tool("replay", directory.root(), run_file.launch, mode);
    const Decision decision = decide_once(end);
    if (decision.kind != Decision::Kind::done) {
        monitoring::log_error("{} (exit code {})", decision.reason, decision.exit_code);
        return decision.exit_code;
    }
    KIBAN_CHECK(mode.comparison().steps == steps, "{} of {} steps were replayed", mode.comparison().steps, steps);
    return conclude_replay(directory.resume_certificate(), from, run_file, mode);
}

}  // namespace kiban::coordinator
