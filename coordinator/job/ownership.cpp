// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/ownership.h"

#include <algorithm>
#include <array>

namespace kiban::coordinator {

using checkpoint::Box;
using checkpoint::Part;

Part owned_range(const Bucket& bucket, int data_rank, int data) {
    return checkpoint::part_of(bucket.padded, data_rank, data);
}

std::optional<Part> elements_inside(const LocalTensor& tensor, const Bucket& bucket, const Part& range) {
    const std::int64_t offset = tensor.offset - bucket.offset;
    const std::int64_t begin = std::max(range.begin, offset);
    const std::int64_t end = std::min(range.end, offset + tensor.elements());
    if (begin >= end) return std::nullopt;
    return Part{begin - offset, end - offset};
}

bool stores(const LocalTensor& tensor, int tensor_rank) {
    return !tensor.copy && (!tensor.partial || tensor_rank == 0);
}

std::vector<OwnedBox> owned_boxes(const Layout& layout, int number, const Part& range) {
    const Bucket& bucket = layout.buckets.at(static_cast<std::size_t>(number));
    std::vector<OwnedBox> owned;
    for (std::size_t i = bucket.first; i <= bucket.last; ++i) {
        const LocalTensor& tensor = layout.tensors[i];
        const auto inside = elements_inside(tensor, bucket, range);
        if (!inside) continue;
        std::int64_t element = tensor.offset - bucket.offset + inside->begin;
        for (Box& box : checkpoint::boxes_of_flat_range(tensor.box.extent, inside->begin, inside->end)) {
            for (std::size_t dim = 0; dim < box.offset.size(); ++dim) box.offset[dim] += tensor.box.offset[dim];
            const std::int64_t elements = checkpoint::num_elements(box.extent);
            owned.push_back({i, std::move(box), element});
            element += elements;
        }
    }
    return owned;
}

std::span<const std::string_view> all_optimizer_state_kinds() {
    static constexpr std::array<std::string_view, 3> kKinds = {"exp_avg", "exp_avg_sq", "momentum"};
    return kKinds;
}

std::span<const std::string_view> optimizer_state_kinds(const TensorSpec& spec, bool muon) {
    const auto all = all_optimizer_state_kinds();
    return muon && muon_updates(spec) ? all.last(1) : all.first(2);
}

}  // namespace kiban::coordinator
