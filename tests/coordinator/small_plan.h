// SPDX-License-Identifier: Apache-2.0
// Small models for tests of plans, and what stands in their layouts. Pure.
#pragma once

#include <cstdint>
#include <stdexcept>
#include <string>

#include "coordinator/job/layout.h"
#include "coordinator/job/plan.h"

namespace kiban::coordinator {

using Bytes = std::uint64_t;

inline constexpr std::int64_t kTokens = 32;  // T, of a row
inline constexpr std::int64_t kTable = 257;  // V
inline constexpr std::int64_t kWidth = 64;   // D
inline constexpr Bytes kFloat = 4;

// 4 layers of width 64 with 4 heads; a step of 16 rows in micro-batches of 2.
inline PlanInput small(ModelLayout layout, int workers = 1) {
    PlanInput input;
    input.model.layout = layout;
    input.model.layers = 4;
    input.model.d_model = kWidth;
    input.model.heads = 4;
    input.model.kv_heads = layout == ModelLayout::llama ? 2 : 4;
    input.model.d_hidden = layout == ModelLayout::llama ? 192 : 256;
    input.vocabulary = kTable;
    input.sequence_length = kTokens;
    input.train.batch_rows = 16;
    input.train.micro_batch_rows = 2;
    input.train.eval_micro_batch_rows = 2;
    input.workers = workers;
    return input;
}

inline PlanInput small_gpt2(int workers = 1) { return small(ModelLayout::gpt2, workers); }
inline PlanInput small_llama(int workers = 1) { return small(ModelLayout::llama, workers); }

inline Layout layout_on(const PlanInput& input, int stage = 0) {
    const ModelCut cut{
        .tensor = input.parallel.tensor, .tensor_rank = 0, .pipeline = input.parallel.pipeline, .stage = stage};
    return layout_of(input.model, input.vocabulary, input.sequence_length, cut,
                     data_degree(input.parallel, input.workers));
}

inline Bytes flat_bytes(const PlanInput& input, int stage = 0) {
    return kFloat * static_cast<Bytes>(layout_on(input, stage).padded);
}

inline Bytes bucket_bytes(const PlanInput& input, const std::string& name, int stage = 0) {
    const Layout layout = layout_on(input, stage);
    for (const Bucket& bucket : layout.buckets)
        if (bucket.name == name) return kFloat * static_cast<Bytes>(bucket.padded);
    throw std::runtime_error("no bucket " + name);
}

}  // namespace kiban::coordinator
