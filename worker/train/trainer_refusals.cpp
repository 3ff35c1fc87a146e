// SPDX-License-Identifier: Apache-2.0
// Steps that all workers refuse, and weights that are bad: what is told, and who fails of it.
#include <fmt/format.h>

#include <string>

#include "coordinator/job/anomaly.h"
#include "monitoring/error.h"
#include "monitoring/log.h"
#include "worker/train/trainer.h"

namespace kiban::worker {

// Who fails of it must have said why before.
std::string Trainer::tell_refused(const coordinator::StepRefused& refused) {
    if (mesh().world.rank() == 0 || refused.roll_back) control_.send(refused);
    std::string text = fmt::format("step {} was refused (rows {} to {} of the order): {}", refused.step,
                                   refused.position, refused.position + refused.rows - 1, refused.reason);
    if (refused.roll_back && refused.kind == "non_finite") throw NonFiniteError("{}", text);
    if (refused.roll_back) throw coordinator::SpikeError(text);
    return text;
}

// Every worker has the same sums, so every worker decides alike. A stop is heeded once something is there to be saved,
// or was saved, at the step before.
bool Trainer::refuses(std::uint64_t step, std::uint64_t position, const Outcome& outcome) {
    const coordinator::StepJudgement judgement = anomalies_.judge(outcome.loss, outcome.gradient_norm);
    if (judgement.verdict == coordinator::StepVerdict::healthy) return false;
    const bool roll_back = judgement.verdict == coordinator::StepVerdict::roll_back;
    const std::uint64_t rows = run_file_.train.batch_rows;
    const std::string text = tell_refused({.step = step,
                                           .position = position,
                                           .rows = rows,
                                           .kind = judgement.kind,
                                           .reason = judgement.reason,
                                           .loss = outcome.loss,
                                           .grad_norm = outcome.gradient_norm,
                                           .roll_back = roll_back});
    monitoring::log_warning("{}", text);
    state_.position = position + rows;
    save_due_ = save_due_ || outcome.save_due;
    stop_ = outcome.stop && (saved_ || last_save_ != state_.step);
    record_next(outcome);
    return true;
}

// The update is made, and what it made is bad: only older weights help.
void Trainer::refuse_weights(std::uint64_t step, double holdout_loss, const coordinator::StepReport& report) {
    const std::uint64_t rows = run_file_.train.batch_rows;
    tell_refused({.step = step,
                  .position = state_.position - rows,
                  .rows = rows,
                  .kind = "non_finite",
                  .reason = fmt::format("the holdout loss after it is {}", holdout_loss),
                  .loss = report.loss,
                  .grad_norm = report.grad_norm,
                  .roll_back = true});
}

}  // namespace kiban::worker
