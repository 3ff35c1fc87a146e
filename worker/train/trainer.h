// SPDX-License-Identifier: Apache-2.0
// Training on one worker of many: the order of a step, and what happens at its boundary (evaluation, report, save,
// stop).
//
// Construction is collective, as is every function; all workers of the run call them alike. One thread. Errors:
// ConfigError before anything is written, NonFiniteError or SpikeError when too many steps were refused (decided by all
// workers together, no update applied; coordinator/job/anomaly.h), CommError when the coordinator is lost.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/state.h"
#include "coordinator/config/run_file.h"
#include "coordinator/job/anomaly.h"
#include "data/corpus.h"
#include "worker/parallel/parallelize.h"
#include "worker/train/control.h"
#include "worker/train/evaluation.h"
#include "worker/train/health.h"
#include "worker/train/passes.h"
#include "worker/train/rows.h"
#include "worker/train/runtime.h"
#include "worker/train/saving.h"
#include "worker/train/step_traffic.h"

namespace kiban::worker {

class Trainer {
  public:
    /// `job` names run file and corpus; `writer` and `control` must outlive it.
    Trainer(const coordinator::Job& job, const Group& world, const Runtime& runtime,
            checkpoint::BackgroundWriter& writer, Control& control);

    /// Starts from the job's checkpoint, or from initial weights when it names none, with the order as the job has it.
    /// Tells the coordinator; false when the checkpoint is bad: the next job names another one.
    bool start_from(const coordinator::Job& job);
    /// Trains to the last step, or until asked to stop, and saves there; on the way it saves beside training.
    coordinator::Finished run();
    /// Trains `steps` more steps and saves nothing.
    coordinator::Finished replay(std::uint64_t steps);

  private:
    struct Outcome {      // of forward and backward on all workers
        double loss = 0;  // NaN: of no target
        double gradient_norm = 0;
        bool stop = false;
        bool saving = false;    // the save before is still under way
        bool save_due = false;  // where the interval is automatic
        bool recorded = false;  // the next step is part of a trace
    };

    void start_from_initial_weights();
    std::optional<coordinator::StepReport> train_step(std::uint64_t step);
    std::uint64_t read_rows(std::uint64_t step, std::uint64_t position);
    Outcome learn(std::uint64_t step, std::uint64_t position, std::uint64_t all_targets);
    Outcome pass_over(std::uint64_t step, std::uint64_t position);
    void update(std::uint64_t step, double learning_rate, double gradient_norm);
    bool other_text_begins(std::uint64_t position) const;
    std::vector<double> forward_backward(std::uint64_t step, std::uint64_t all_targets);
    Outcome agree_on_outcome(std::uint64_t step, double loss_sum, double squares, std::uint64_t all_targets);
    unsigned news_of_worker_0(std::uint64_t step);
    double sum_in_fixed_tree(const std::vector<double>& loss_sums);
    double sum_of_squares();
    bool fixed() const { return run_file_.train.reduction == "fixed"; }
    const Mesh& mesh() const { return model_.mesh(); }
    bool refuses(std::uint64_t step, std::uint64_t position, const Outcome& outcome);
    std::string tell_refused(const coordinator::StepRefused& refused);
    void refuse_weights(std::uint64_t step, double holdout_loss, const coordinator::StepReport& report);
    const checkpoint::RunState& state_to_save();
    void finish_step(std::uint64_t step, coordinator::StepReport& report);
    bool is_evaluated(std::uint64_t step) const;
    bool is_last() const { return stop_ || state_.step >= last_step(); }
    void record_next(const Outcome& outcome) {
        const auto workers = static_cast<std::size_t>(mesh().world.size());
        control_.record(outcome.recorded && !is_last(), coordinator::kMostTraceSpans / workers);
    }
    bool is_save_due() const;
    void save();
    std::uint64_t last_step() const { return run_file_.train.steps; }

    coordinator::RunFile run_file_;
    Control& control_;
    data::Corpus corpus_;
    ParallelModel model_;
    MicroBatches mine_;
    StepRows rows_;
    Passes passes_;
    Evaluation evaluation_;
    HealthWatch health_;
    StepTraffic traffic_;
    std::vector<data::RowRange> left_out_;
    coordinator::AnomalyWatch anomalies_;
    Saver saver_;
    checkpoint::RunState state_;   // after the last completed step
    Outcome last_;                 // of that step
    std::uint64_t last_save_ = 0;  // step of the save begun last, or of the start
    bool saved_ = false;           // state_ is in a committed checkpoint
    bool stop_ = false;
    bool save_due_ = false;  // since a step that was refused
};

}  // namespace kiban::worker
