// SPDX-License-Identifier: Apache-2.0
// The small model as a training process holds it: whole tensors in memory, which an update changes.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <vector>

#include "checkpoint/shard.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint::testing {

// Whole tensors in memory of this process, as an optimizer holds them.
class HeldState {
  public:
    explicit HeldState(const std::vector<TensorInfo>& model, std::uint64_t step = 7) {
        for (const TensorInfo& tensor : model) {
            bytes_.push_back(box_bytes(tensor, step, whole(tensor.shape)));
            slices_.push_back({tensor, whole(tensor.shape), bytes_.back().data()});
        }
    }
    const std::vector<TensorSlice>& slices() const { return slices_; }
    void change() {  // what an update does
        for (auto& tensor : bytes_) std::ranges::fill(tensor, std::byte{0xEE});
    }

  private:
    std::vector<std::vector<std::byte>> bytes_;
    std::vector<TensorSlice> slices_;
};

// 3 MiB in three tensors, the middle one as large as half of it.
inline std::vector<TensorInfo> large_model() {
    return {{{"a", "param"}, DType::f32, {192, 1024}},
            {{"b", "param"}, DType::f32, {384, 1024}},
            {{"c", "exp_avg"}, DType::f64, {96, 1024}}};
}

inline ShardReport written_at_once(const HeldState& state, const Scratch& scratch) {
    return write_shard(scratch.path(), 0, state.slices());
}

inline void expect_same(const ShardReport& found, const ShardReport& expected) {
    EXPECT_EQ(to_json(found), to_json(expected));
}

}  // namespace kiban::checkpoint::testing
