// SPDX-License-Identifier: Apache-2.0
// What a run will take before it starts: parameters, memory, arithmetic and traffic of its workers, from the run file
// alone. Pure functions, without Torch and MPI; any thread.
//
// One worker stands for each pipeline stage: data rank 0, tensor rank 0. The others of its stage hold as much (of
// Muon's state and work, at most as much), and send as much up to the rounding of part_of (checkpoint/placement.h).
// Bytes are bytes, FLOPs count a multiplication and an addition as two. Evaluation enters the memory where it is the
// peak, and nothing else; checkpoint.pool_mib is on top.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/placement.h"
#include "coordinator/job/inventory.h"
#include "coordinator/job/model_config.h"
#include "coordinator/job/train_config.h"

namespace kiban::coordinator {

struct PlanInput {  // validated (config/run_file.h): the zeros that mean "derive" are filled
    ModelConfig model;
    std::int64_t vocabulary = 0;  // V, as resolved
    std::int64_t sequence_length = 0;
    TrainConfig train;
    ParallelConfig parallel;
    int workers = 1;
    int threads_per_worker = 1;
};

// A worker without a model, as the sum of its own pages and of its share of those that several processes use (Pss of
// /proc/PID/smaps_rollup). Measured with two workers of one thread each, layers = 1, d_model = 16, on Debian 12 with
// LibTorch 1.13, Open MPI 4.1 and HDF5 1.10.
/// Its own: heaps and threads of the libraries, the control channel, the log, caches of the token shards.
constexpr std::uint64_t kProcessBytes = std::uint64_t{65} << 20;
/// Mapped files, nearly all of them libraries, of which the workers of a node each account for an equal part.
constexpr std::uint64_t kLibraryBytes = std::uint64_t{116} << 20;

struct MemoryPlan {  // bytes of one worker at its peak, in a step after the first
    // For the whole run.
    std::uint64_t weights = 0;    // the flat buffer; ZeRO 3: the own part of each bucket; bf16: and rounded copies
                                  // of what is multiplied, at ZeRO 3 of one bucket at a time
    std::uint64_t gradients = 0;  // the flat buffer; ZeRO 2 and 3: the own part of each bucket
    std::uint64_t optimizer = 0;  // two floats a parameter that this worker updates, one where it is Muon's
    // While micro-batches are under way.
    std::uint64_t activations = 0;  // kept for the backward passes of as many as are under way at once
    std::uint64_t working = 0;      // on top at the peak: gradients of activations, a chunk of logits, a recomputed
                                    // block, gathered tokens, scratch of the threads
    // Buffers, kept once they were needed.
    std::uint64_t buckets = 0;  // ZeRO 2 and 3: buckets that are gathered, and gradients on their way to be reduced
    std::uint64_t tree = 0;     // reduction = "fixed": a flat buffer for each level of the sum over micro-batches
    std::uint64_t muon = 0;     // a layer's momenta, a matrix and what orthogonalising it needs
    std::uint64_t windows = 0;  // memory shared with the other ranks of each group, on one node
    std::uint64_t rows = 0;     // token ids of a step and of an evaluation batch, rotary table
    std::uint64_t process = 0;  // without a model, where all workers are on one node

    std::uint64_t buffers() const { return buckets + tree + muon + windows + rows; }
    std::uint64_t total() const {
        return weights + gradients + optimizer + activations + working + buffers() + process;
    }
};

struct TrafficPlan {        // of one worker in one step
    std::string group;      // data, shard, replica, tensor, layer, pipeline, tied or world (worker/parallel/mesh.h)
    std::string operation;  // reduce_scatter, all_gather, all_reduce, send or receive
    std::string what;
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;  // that it sends (receive: that it receives), as worker/comm counts them
};

struct StagePlan {
    int stage = 0;
    checkpoint::Part layers;
    std::uint64_t parameters = 0;  // of the stage's part on this tensor rank, with a tied copy
    int under_way = 1;             // micro-batches between forward and backward at once, at most
    MemoryPlan memory;
    double model_flops = 0;       // of one worker in one step
    double recomputed_flops = 0;  // by activation checkpointing, on top
    std::vector<TrafficPlan> traffic;

    std::uint64_t sent_bytes() const;  // without receive
};

struct Plan {
    ModelSize size;
    int workers = 1;
    int data = 1;
    int tensor = 1;
    int pipeline = 1;
    int zero = 1;
    int replicate = 1;
    std::uint64_t micro_batches = 0;     // of one worker in one step
    std::uint64_t micro_batch_rows = 0;  // of one of them
    std::uint64_t tokens = 0;            // of one step, over all workers
    std::vector<StagePlan> stages;       // in order

    /// The stage whose workers need most memory.
    const StagePlan& largest() const;
    double model_flops() const;  // of one step over all workers: tokens * size.flops_per_token
    double recomputed_flops() const;
};

/// ConfigError naming the numbers where degrees do not divide the model or the workers.
Plan plan_of(const PlanInput& input);

}  // namespace kiban::coordinator
