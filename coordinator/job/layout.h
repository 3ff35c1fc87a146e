// SPDX-License-Identifier: Apache-2.0
// Which part of which tensor lies on which worker, and how a worker's tensors lie in memory: pure functions of the
// model and the degrees, without Torch, so that `kiban` refuses and plans with what the worker builds from.
//
// A bucket is what is gathered, reduced and freed together: one layer, or one tensor outside the layers. It is padded
// so that it cuts into as many parts of whole blocks as there are data-parallel workers, of which each owns one or,
// with replicas, as many as there are replicas; a block has a size that depends on the bucket's elements alone, so sums
// taken by blocks do not depend on the number of workers.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/box.h"
#include "checkpoint/placement.h"
#include "coordinator/job/inventory.h"
#include "coordinator/job/model_config.h"
#include "coordinator/job/train_config.h"

namespace kiban::coordinator {

struct ModelCut {  // a worker's place on the axes that cut the model
    int tensor = 1;
    int tensor_rank = 0;
    int pipeline = 1;
    int stage = 0;

    bool first_stage() const { return stage == 0; }
    bool last_stage() const { return stage == pipeline - 1; }
};

/// ConfigError naming the numbers when heads, key/value heads, hidden features or layers do not divide.
void check_cut(const ModelConfig& model, const ParallelConfig& parallel);

/// What remains of the workers for the data axis. ConfigError naming every degree when they do not divide.
int data_degree(const ParallelConfig& parallel, int workers);

/// Data-parallel workers that share out one replica of the ZeRO state: data degree / parallel.replicate. ConfigError
/// naming the numbers when replicas do not divide, and as data_degree.
int shard_degree(const ParallelConfig& parallel, int workers);

/// The layers of a stage: as even as possible, more on the earlier stages.
checkpoint::Part layers_of_stage(std::int64_t layers, int stage, int pipeline);

/// The gpt2 head is the embedding: with a pipeline, its first and last stage hold a copy each and sum their gradients.
bool ties_stages(const ModelConfig& model, const ModelCut& cut);

struct LocalTensor {
    TensorSpec spec;      // of the whole tensor
    checkpoint::Box box;  // the part that is here
    int bucket = 0;
    std::int64_t offset = 0;  // of its first element in the worker's flat buffer
    bool partial = false;     // held whole by every tensor rank, each of which adds its own tokens' gradient
    bool copy = false;        // another stage stores it: the head of the last stage where it is tied

    std::int64_t elements() const;  // here
};

struct Bucket {
    std::string name;
    std::size_t first = 0;  // into the tensors
    std::size_t last = 0;   // inclusive
    std::int64_t offset = 0;
    std::int64_t elements = 0;  // without padding
    std::int64_t padded = 0;    // a multiple of data * block
    std::int64_t block = 1;     // elements
    bool copy = false;          // of the tied embedding
};

struct Layout {
    std::vector<LocalTensor> tensors;  // in the order of the flat buffer
    std::vector<Bucket> buckets;
    std::int64_t elements = 0;  // without padding, with copies
    std::int64_t padded = 0;    // length of the flat buffer
};

/// Of all buckets.
std::int64_t blocks_of(const Layout& layout);

/// Neighbouring tensors of one bucket stay neighbours without a gap, so [q;k;v] is one matrix. `data` is the number of
/// data-parallel workers.
Layout layout_of(const ModelConfig& model, std::int64_t vocabulary, std::int64_t sequence_length, const ModelCut& cut,
                 int data);

/// Whole tensors in one bucket, for a model that nothing cuts.
Layout layout_of(const std::vector<TensorSpec>& tensors, int data);

}  // namespace kiban::coordinator
