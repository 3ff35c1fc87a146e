// SPDX-License-Identifier: Apache-2.0
// Which steps are not to be trusted: a loss or gradient norm that is not finite, or far above what was usual. Judged
// before the update, from numbers that are the same on all workers, so all judge alike.
//
// What is usual is the last window_steps healthy steps. A step that is refused makes no update and leaves its rows out;
// too many in a row, or among the last, ask for a rollback. The state goes into checkpoints, so that a resume judges as
// the run did. Pure: no clock. One thread.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <deque>
#include <string>

#include "coordinator/job/survive_config.h"
#include "monitoring/error.h"

namespace kiban::coordinator {

/// Too many steps were refused, the last one for a spike. (For one that is not finite: NonFiniteError.)
class SpikeError : public Error {
  public:
    using Error::Error;
    static constexpr const char* kName = "SpikeError";
    int exit_code() const noexcept override { return kExitInternal; }
    const char* type_name() const noexcept override { return kName; }
};

enum class StepVerdict {
    healthy,
    refused,    // no update; its rows are left out, the next ones are tried
    roll_back,  // refused, and once too often
};

struct StepJudgement {
    StepVerdict verdict = StepVerdict::healthy;
    std::string kind = {};    // bounded: non_finite | loss_spike | norm_spike; empty: healthy
    std::string reason = {};  // for a person: the numbers
};

class AnomalyWatch {
  public:
    explicit AnomalyWatch(const AnomalyConfig& config) : config_(config) {}

    /// Of a step's loss (nats a token) and global gradient norm before clipping; remembers it.
    StepJudgement judge(double loss, double gradient_norm);

    /// CheckpointError when what a checkpoint holds cannot be understood; null and {}: a run that has seen nothing.
    static AnomalyWatch from_json(const nlohmann::json& state, const AnomalyConfig& config);
    nlohmann::json to_json() const;

  private:
    StepJudgement look(double loss, double gradient_norm) const;

    AnomalyConfig config_;
    std::deque<double> losses_;  // of healthy steps, the oldest first
    std::deque<double> norms_;
    std::uint64_t judged_ = 0;           // steps, refused ones included
    std::deque<std::uint64_t> refused_;  // which of them, the last window_steps
    std::uint32_t consecutive_ = 0;
};

}  // namespace kiban::coordinator
