// SPDX-License-Identifier: Apache-2.0
// AdamW, or Muon and AdamW, over a mesh: each worker updates the pieces of the parameters that ZeroSharding gives it,
// and keeps their optimizer state.
//
// A step: sharding().reduce_gradients(); the caller sums squares over the world and decides; update, which clips by the
// global norm; sharding().publish_values(). State is stored by tensor name as boxes of the whole tensor,
// so a checkpoint loads on any mesh. Functions that communicate say so; all ranks call them in the same order. One
// thread. Errors: CheckpointError, ConfigError, CommError.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/placement.h"
#include "checkpoint/reader.h"
#include "checkpoint/tensor.h"
#include "coordinator/job/train_config.h"
#include "worker/device/memory.h"
#include "worker/model/parameters.h"
#include "worker/optim/muon_update.h"
#include "worker/optim/optimizer_state.h"
#include "worker/optim/update_watch.h"
#include "worker/parallel/mesh.h"
#include "worker/parallel/zero_sharding.h"

namespace kiban::worker {

struct WholeModel {  // over all workers
    std::size_t tensors = 0;
    std::int64_t elements = 0;
    std::size_t muons_tensors = 0;  // of these, what Muon updates: one kind of state, not two
    std::int64_t muons_elements = 0;
};

class ShardedOptimizer {
  public:
    /// `parameters`, made with held_at(zero_stage), must outlive it. `clip_norm` 0: no clipping. ConfigError for a ZeRO
    /// stage that there is not.
    ShardedOptimizer(Parameters& parameters, const coordinator::OptimizerConfig& config, double clip_norm,
                     int zero_stage, const Mesh& mesh, const WholeModel& whole);

    ZeroSharding& sharding() { return sharding_; }

    /// Of the reduced gradients of the stored pieces; their sum over the world is the square of the global norm.
    double own_sum_of_squares();
    /// The same, by blocks of the layout: of one length on all workers that hold the same buckets, zero where a block
    /// is not this worker's. The sum over the data axis does not depend on the number of its workers.
    std::vector<double> block_sums_of_squares();

    /// What gradients are multiplied with before the update: 1, or clip_norm / (norm + 1e-6) when the norm is above
    /// clip_norm.
    double clipping_factor(double gradient_norm) const;
    /// Communicates where Muon is used, within Mesh::layer. `step` counts updates from 1: bias correction is computed
    /// from it. `norms`: has those of this update added to it, at the cost of a copy of each value before and after.
    void update(std::uint64_t step, double learning_rate, double gradient_norm, UpdateNorms* norms = nullptr);
    /// Forgets all moving averages.
    void reset() { state_.reset(); }

    /// Memory of the optimizer state of this worker.
    std::uint64_t optimizer_bytes() const { return state_.bytes(); }

    /// This worker's share of the checkpoint: parameters and state of the stored pieces, as far as no other worker
    /// stores them: replicas write an equal share each. On the host: views of what stands there, valid until the next
    /// update; of what stands on a device copies, made by the call. Both are valid until the next call.
    std::vector<checkpoint::TensorSlice> slices();
    /// The reduced gradients of the stored pieces, boxed and named as the parameters are in slices().
    std::vector<checkpoint::TensorSlice> reduced_gradients();
    /// Bytes of the shares of all workers.
    std::uint64_t checkpoint_bytes() const;

    /// Reads this worker's share. Does not communicate. CheckpointError for a damaged checkpoint, ConfigError for one
    /// of another model.
    void load(const checkpoint::CheckpointReader& reader);
    /// Communicates. Completes load(): shares out the parameters and compares the fingerprint of every tensor, summed
    /// over the world, with the checkpoint's. Returns the first that differs, or an empty string; the same answer on
    /// all ranks.
    std::string complete_load(const checkpoint::CheckpointReader& reader);

  private:
    struct Run {  // neighbouring elements that AdamW updates alike
        std::size_t piece = 0;
        std::size_t first = 0;   // entry
        checkpoint::Part range;  // within the bucket
        bool decay = false;
    };

    void update_adamws(std::uint64_t step, double learning_rate, double gradient_scale, UpdateWatch* watch);
    void watch_run(const Run& run, const OwnedPiece& piece, UpdateWatch& watch, const UpdateWatch::Apply& apply);
    bool counts(const ParameterEntry& entry) const;
    void note_runs();
    template <typename Visit>
    void for_each_counted(Visit visit);
    std::vector<checkpoint::TensorSlice> slices_of(const std::vector<OwnedPiece>& pieces);
    template <typename Visit>
    void for_each_part(const std::vector<OwnedPiece>& pieces, std::string_view kind, Visit visit);
    void load_whole_state(const checkpoint::CheckpointReader& reader);
    const float* on_host(const checkpoint::Box& box, const float* data);
    float* place(const OwnedPiece& piece, std::string_view kind, std::size_t index, std::int64_t element);

    Parameters& parameters_;
    coordinator::OptimizerConfig config_;
    double clip_norm_;
    Mesh mesh_;
    WholeModel whole_;
    ZeroSharding sharding_;
    OptimizerState state_;
    MuonUpdate muon_;
    std::vector<std::int64_t> first_block_;  // per bucket, over all buckets
    std::vector<Run> runs_;
    HostCopies copies_;  // of slices
};

}  // namespace kiban::worker
