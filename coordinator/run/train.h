// SPDX-License-Identifier: Apache-2.0
// The coordinator's part of training: gives out the job, appends the curve, conducts saves, passes a stop on to worker
// 0.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/commit.h"
#include "coordinator/run/curve_events.h"
#include "coordinator/run/interval.h"
#include "coordinator/run/save.h"
#include "coordinator/run/speed.h"
#include "coordinator/run/step_trace.h"
#include "coordinator/run/supervise.h"
#include "coordinator/run/upkeep.h"
#include "coordinator/run/wishes.h"
#include "data/corpus.h"
#include "monitoring/curve.h"

namespace kiban::coordinator {

/// What training keeps from attempt to attempt.
struct TrainProgress {
    monitoring::CurveWriter curve;
    std::string manifest;
    std::string manifest_digest;
    std::uint64_t step = 0;              // of the last report
    std::uint64_t durable_progress = 0;  // 1 + step of the newest checkpoint; 0: none
    std::uint32_t failed_saves = 0;      // in a row
    SaveCost save_cost = {};
    FailureRecord failures = {};      // of the attempts before
    std::uint64_t queued_step = 0;    // of the save begun last
    double write_seconds = 0;         // of the save that ended last, from the request to the commit
    bool save_is_waited_for = false;  // the one begun last
    double longest_waited_save = 0;   // seconds; of those without limits that training stood still for
    double step_seconds = 0;          // of the last step
    double evaluation_seconds = 0;    // of the longest one
    SaveWishes wishes = {};
    std::vector<data::RowRange> left_out = {};  // rows, of the whole run
    std::vector<std::uint64_t> refused = {};    // steps, likewise
    std::optional<StepRefused> last_refused = {};
    Speed speed = {};
    double next_progress = 0;
};

class TrainMode : public AttemptMode {
  public:
    TrainMode(Session& session, TrainProgress& training, Upkeep& upkeep, std::uint32_t attempt);

    void joined(CoordinatorChannel& channel) override;
    void on_message(CoordinatorChannel& channel, int rank, const WorkerMessage& message) override;
    int descriptor() const override { return save_.descriptor(); }
    void on_ready(CoordinatorChannel& channel) override;
    bool request_stop(CoordinatorChannel& channel, const std::string& reason) override;
    bool survives_errors() const override { return true; }
    std::uint64_t progress() const override { return training_.durable_progress; }
    void on_request(CoordinatorChannel& channel, const Request& request) override;
    double seconds_to_leave() const override;
    std::uint64_t undone_steps() const override;
    std::uint64_t undone_tokens() const override;
    bool began() const override { return reported_; }
    bool has_older_checkpoint() const override;
    void before_restart(const Decision& decision) override;
    void each_second() override;
    void ended() override;

  private:
    void send_job(CoordinatorChannel& channel);
    void on_loaded(CoordinatorChannel& channel, const LoadResult& result);
    void on_step(CoordinatorChannel& channel, const StepReport& report);
    void on_health(const Health& health);
    void on_stage_request(CoordinatorChannel& channel, const StageRequest& request);
    void note_stall(CoordinatorChannel& channel, const StepReport& report);
    void on_outcome(const SaveOutcome& outcome);
    void note_save(const SaveOutcome& outcome);
    void on_extension(CoordinatorChannel& channel, const Request& request);
    void on_setting(CoordinatorChannel& channel, const Request& request);
    void on_trace(CoordinatorChannel& channel, const Request& request);
    void serve_wishes(CoordinatorChannel& channel);
    void answer_wishes(std::uint64_t step, const Answer& answer);
    std::string checkpoint_text() const;
    void choose_interval(CoordinatorChannel& channel);
    void on_refused(const StepRefused& refused);
    void take_up_refused();
    void leave_out(const data::RowRange& rows, std::uint64_t step, const char* why);
    void roll_back();
    void note_mixture(std::uint64_t step, const std::vector<nlohmann::json>& journal);
    void note_targets(const StepReport& report);
    void show_progress(const StepReport& report);

    Session& session_;
    TrainProgress& training_;
    Upkeep& upkeep_;
    std::uint32_t attempt_;
    std::optional<checkpoint::CheckpointInfo> start_;
    std::vector<data::MixtureSegment> mixture_ = {};  // of the order, as the workers were told
    std::uint64_t position_ = 0;                      // where they go on
    bool without_targets_ = false;                    // the step before
    SaveFlow save_;
    CurveEvents curve_events_;
    StepTrace trace_;
    bool loaded_ = false;
    bool reported_ = false;                      // a step
    std::optional<std::uint64_t> refused_here_;  // position of the step that this attempt refused last
    double began_ = 0;                           // training, monotonic
    std::uint64_t interval_ = 0;                 // in steps, chosen last; 0: none
};

/// Where to go back to when steps from `first_refused` on were refused: the newest promoted checkpoint before it, else
/// the newest one; before `loaded` where that is set, since what was loaded is suspect. The oldest one where all are
/// later. Of `steps`, newest first, the index; nullopt when there is none. Pure.
std::optional<std::size_t> rollback_target(const std::vector<std::uint64_t>& steps, const std::vector<bool>& promoted,
                                           std::uint64_t first_refused, std::optional<std::uint64_t> loaded);

/// Trains from the newest good checkpoint to the last step.
Outcome train(Session& session, TrainProgress& training);

}  // namespace kiban::coordinator
