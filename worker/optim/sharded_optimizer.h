// SPDX-License-Identifier: Apache-2.0
// AdamW over a data-parallel group: each worker keeps the optimizer state of its own part of the flat parameter buffer
// (ZeRO stage 1, Rajbhandari et al. 2020), or all of it (stage 0).
//
// A step: reduce_scatter_gradients; the caller sums squares over the group and decides; update_own_part, which clips by
// the global norm; all_gather_parameters. State is stored by tensor name as boxes, so a checkpoint loads on any number
// of workers. Functions that communicate say so; all ranks call them in the same order. One thread. Errors:
// CheckpointError, ConfigError, CommError.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/placement.h"
#include "checkpoint/reader.h"
#include "checkpoint/tensor.h"
#include "coordinator/job/train_config.h"
#include "worker/comm/group.h"
#include "worker/model/parameters.h"

namespace kiban::worker {

class ShardedOptimizer {
  public:
    /// `parameters` must outlive it. `clip_norm` 0: no clipping. ConfigError for a ZeRO stage other than 0 and 1.
    ShardedOptimizer(Parameters& parameters, const coordinator::OptimizerConfig& config, double clip_norm,
                     int zero_stage, Group data_group);

    /// Communicates. Afterwards the gradients of the own part (stage 0: all) are sums over the group.
    void reduce_scatter_gradients();
    /// Of the reduced gradients of the own part; their sum over the group is the square of the global norm.
    double own_sum_of_squares() const;

    /// What gradients are multiplied with before the update: 1, or clip_norm / (norm + 1e-6) when the norm is above
    /// clip_norm.
    double clipping_factor(double gradient_norm) const;
    /// `step` counts updates from 1: bias correction is computed from it.
    void update_own_part(std::uint64_t step, double learning_rate, double gradient_norm);
    /// Communicates. Stage 0: nothing to do, every worker has updated everything.
    void all_gather_parameters();
    /// Forgets all moving averages.
    void reset();

    /// Memory of the optimizer state of this worker.
    std::uint64_t optimizer_bytes() const;

    /// This worker's share of the checkpoint: parameters and state of the own part. Views, valid until the next update.
    std::vector<checkpoint::TensorSlice> slices() const;
    /// Bytes of the shares of all workers.
    std::uint64_t checkpoint_bytes() const;

    /// Reads this worker's share. Does not communicate. CheckpointError for a damaged checkpoint, ConfigError for one
    /// of another model.
    void load(const checkpoint::CheckpointReader& reader);
    /// Communicates. Completes load(): gathers the parameters and compares the fingerprint of every tensor, summed over
    /// the group, with the checkpoint's. Returns the first that differs, or an empty string; the same answer on all
    /// ranks.
    std::string complete_load(const checkpoint::CheckpointReader& reader);

  private:
    struct Run {  // neighbouring elements that are updated alike
        checkpoint::Part range;
        bool decay = false;
    };

    std::vector<checkpoint::TensorSlice> slices_of(const checkpoint::Part& range, const std::string& kind,
                                                   const float* buffer, std::int64_t buffer_begin) const;
    void read_range(const checkpoint::CheckpointReader& reader, const checkpoint::Part& range, const std::string& kind,
                    float* buffer, std::int64_t buffer_begin) const;

    Parameters& parameters_;
    coordinator::OptimizerConfig config_;
    double clip_norm_;
    Group group_;
    bool sharded_;            // ZeRO stage 1
    checkpoint::Part own_;    // of the flat buffers: what this worker reduces and stores
    checkpoint::Part state_;  // what it keeps optimizer state for: own_ (stage 1) or everything (stage 0)
    std::vector<Run> runs_;   // of state_
    std::vector<float> exp_avg_;
    std::vector<float> exp_avg_sq_;
};

}  // namespace kiban::worker
