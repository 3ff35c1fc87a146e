// SPDX-License-Identifier: Apache-2.0
// ZeRO (Rajbhandari et al. 2020) over the data axis, or over each of its replicas (Mesh::shard; hybrid sharding, Zhao
// et al. 2023): who keeps which part of each bucket, and when buckets are gathered and reduced.
//
// Stage 0 keeps everything on every worker; 1 shares out the optimizer state; 2 also the gradients, reduced after each
// micro-batch; 3 also the parameters, gathered before a bucket is used and freed after it. Every worker owns part_of of
// each padded bucket, the same on every replica. Before the sums over the shards come those over the tensor axis, for
// tensors that every tensor rank holds whole; after them, once a step, those of the own part over the replicas, then
// those of the tied embedding's copy. Functions that communicate say so, or are hooks of a
// pass; all ranks call them in the same order. One thread. Errors: CommError, ConfigError.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "checkpoint/placement.h"
#include "worker/comm/group.h"
#include "worker/model/bucket_hooks.h"
#include "worker/model/parameters.h"
#include "worker/parallel/bucket_pool.h"
#include "worker/parallel/mesh.h"

namespace kiban::worker {

/// A part of a bucket on this worker, and where its values and reduced gradients stand.
struct OwnedPiece {
    int bucket = 0;
    checkpoint::Part range;  // elements within the padded bucket
    float* values = nullptr;
    float* gradients = nullptr;
};

/// What a stage leaves to be held by Parameters.
Held held_at(int zero_stage);

class ZeroSharding final : public BucketHooks {
  public:
    /// `parameters`, made with held_at(stage), must outlive it. ConfigError for a stage other than 0 to 3.
    ZeroSharding(Parameters& parameters, int stage, const Mesh& mesh);
    ~ZeroSharding() override;

    void before_forward(int bucket) override;
    void after_forward(int bucket) override;
    void before_backward(int bucket) override;
    void after_backward(int bucket) override;

    /// Forgets all gradients.
    void begin_step();
    /// The micro-batch that comes completes the gradients: at stages 0 and 1, each bucket's sum begins as soon as its
    /// last gradient is there, beside the backward pass that goes on; at 2 and 3, the sum of its own part over
    /// replicas.
    void last_micro_batch() { reduces_early_ = true; }
    /// Communicates. Afterwards the gradients of the own pieces (stage 0: all) are sums over all workers.
    void reduce_gradients();
    /// Communicates, after an update. The values of all own pieces reach the workers that hold whole buckets.
    void publish_values();
    /// Communicates, after a load of the own pieces: as publish_values(), at stage 0 too.
    void share_out_values();
    /// Does not communicate: the initial values are a function of the seed.
    void initialise(std::uint64_t seed);

    /// What this worker reduces and keeps the state of, by bucket.
    std::vector<OwnedPiece> own_pieces();
    /// What this worker alone stores and counts: its replica's share of the own pieces. With one replica, all of them.
    std::vector<OwnedPiece> stored_pieces();
    /// What it updates: its own pieces, at stage 0 every bucket.
    std::vector<OwnedPiece> updated_pieces();
    /// Of a padded bucket.
    checkpoint::Part own_range(int bucket) const;
    int stage() const { return stage_; }

  private:
    struct Shard;

    float* own_values(int bucket);
    float* own_gradients(int bucket);
    std::span<float> whole_gradients(int bucket);
    void start_gather(int bucket);
    void gather(int bucket, int next);
    int layer_or_none(int bucket) const;
    void sum_partial_tensors(int bucket, float* gradients);
    void start_sum(int bucket);
    void start_sum_over_replicas(int bucket);
    void reduce(int bucket);
    void sum_tied_copies();

    Parameters& parameters_;
    int stage_;
    Mesh mesh_;
    BucketPool pool_;
    std::vector<Shard> shards_;  // by bucket
    int norm_ = -1;              // bucket of the last norm, where it is here
    bool reduces_early_ = false;
};

}  // namespace kiban::worker
