// SPDX-License-Identifier: Apache-2.0
// Which boxes of which tensors a worker owns: what it writes into a checkpoint and reads back. Pure functions of a
// layout and a worker's place, shared by the worker and by whoever makes or checks checkpoints without one.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "coordinator/job/layout.h"

namespace kiban::coordinator {

/// Of the padded bucket, the elements that data worker `data_rank` of `data` owns.
checkpoint::Part owned_range(const Bucket& bucket, int data_rank, int data);

/// The elements of the part of a tensor that is here, counted from its first, that lie in a range of its bucket.
std::optional<checkpoint::Part> elements_inside(const LocalTensor& tensor, const Bucket& bucket,
                                                const checkpoint::Part& range);

/// Of what several workers hold, one stores: no copy of the tied embedding, and of what every tensor rank holds whole
/// that of rank 0.
bool stores(const LocalTensor& tensor, int tensor_rank);

struct OwnedBox {
    std::size_t tensor = 0;    // into the layout's tensors
    checkpoint::Box box;       // of the whole tensor
    std::int64_t element = 0;  // its first one, counted from the bucket's first; the others follow without a gap
};

/// The boxes of a range of a bucket, in ascending order of their elements; what other workers also hold is among them.
std::vector<OwnedBox> owned_boxes(const Layout& layout, int bucket, const checkpoint::Part& range);

/// What the optimizer keeps of a tensor from step to step, by the kinds under which checkpoints store it: momentum
/// where `muon` is used and updates it, else exp_avg and exp_avg_sq.
std::span<const std::string_view> optimizer_state_kinds(const TensorSpec& spec, bool muon);
/// Every kind that a tensor of any model may have.
std::span<const std::string_view> all_optimizer_state_kinds();

}  // namespace kiban::coordinator
