// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/gradient_tree.h"

#include <algorithm>

#include "monitoring/error.h"
#include "worker/device/memory.h"

namespace kiban::worker {
namespace {

void note_merges(int lo, int hi, std::vector<int>& merges) {
    if (hi - lo < 2) return;
    const int mid = lo + (hi - lo) / 2;
    note_merges(lo, mid, merges);
    note_merges(mid, hi, merges);
    ++merges[static_cast<std::size_t>(hi) - 1];
}

}  // namespace

std::vector<int> merges_after_leaves(int n) {
    std::vector<int> merges(static_cast<std::size_t>(n));
    note_merges(0, n, merges);
    return merges;
}

GradientTree::GradientTree(Parameters& parameters, int micro_batches)
    : parameters_(parameters), merges_(merges_after_leaves(micro_batches)) {
    std::size_t depth = 0;
    std::size_t deepest = 0;
    for (const int merges : merges_) {
        deepest = std::max(deepest, ++depth);
        depth -= static_cast<std::size_t>(merges);
    }
    for (std::size_t level = 1; level < deepest; ++level) buffers_.push_back(zeroed_buffer(parameters.layout().padded));
}

void GradientTree::attach(std::size_t level) {
    const auto& buckets = parameters_.layout().buckets;
    for (std::size_t i = 0; i < buckets.size(); ++i) {
        const int bucket = static_cast<int>(i);
        if (level == 0)
            parameters_.detach_gradients(bucket);
        else
            parameters_.attach_gradients(bucket, buffers_[level - 1].get() + buckets[i].offset);
    }
}

void GradientTree::begin_leaf() {
    KIBAN_CHECK(leaf_ < merges_.size(), "sum a gradient more than the {} micro-batches of a step", merges_.size());
    if (depth_ > 0) attach(depth_);
    ++depth_;
}

void GradientTree::end_leaf() {
    for (std::size_t i = 0; i < parameters_.layout().buckets.size(); ++i)
        parameters_.bucket_gradients(static_cast<int>(i));  // what this micro-batch did not touch is zero
    for (int merge = 0; merge < merges_[leaf_]; ++merge) {
        --depth_;
        add_floats(memory(depth_), parameters_.layout().padded, memory(depth_ - 1));
    }
    if (++leaf_ < merges_.size()) return;
    KIBAN_CHECK(depth_ == 1, "a step's gradients ended as {} sums", depth_);
    if (merges_.size() > 1) attach(0);
    depth_ = 0;
    leaf_ = 0;
}

float* GradientTree::memory(std::size_t level) {
    return level == 0 ? parameters_.held_gradients() : buffers_[level - 1].get();
}

}  // namespace kiban::worker
