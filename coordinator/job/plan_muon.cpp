// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/plan_muon.h"

#include <algorithm>

#include "checkpoint/placement.h"

namespace kiban::coordinator {
namespace {

using checkpoint::Part;

std::uint64_t bytes_of(std::int64_t floats) { return static_cast<std::uint64_t>(floats) * sizeof(float); }

bool is_muons(const PlannedStage& stage, const LocalTensor& tensor) {
    return stage.input.train.optimizer.name == "muon" && muon_updates(tensor.spec);
}

// Elements of a range of the bucket that are Muon's.
std::int64_t muons_in(const PlannedStage& stage, const Bucket& bucket, const Part& range) {
    std::int64_t sum = 0;
    for (std::size_t i = bucket.first; i <= bucket.last; ++i) {
        const LocalTensor& tensor = stage.layout.tensors[i];
        if (!is_muons(stage, tensor)) continue;
        const std::int64_t begin = tensor.offset - bucket.offset;
        const std::int64_t end = begin + tensor.elements();
        sum += std::max<std::int64_t>(0, std::min(end, range.end) - std::max(begin, range.begin));
    }
    return sum;
}

}  // namespace

bool has_muon(const PlannedStage& stage, const Bucket& bucket) {
    return muons_in(stage, bucket, {0, bucket.padded}) > 0;
}

bool has_muon(const PlannedStage& stage) {
    const auto& buckets = stage.layout.buckets;
    return std::any_of(buckets.begin(), buckets.end(), [&](const Bucket& bucket) { return has_muon(stage, bucket); });
}

std::uint64_t optimizer_bytes(const PlannedStage& stage) {
    const int parts = stage.input.parallel.zero == 0 ? 1 : stage.shards;
    std::int64_t most = 0;
    for (int rank = 0; rank < parts; ++rank) {
        std::int64_t floats = 0;
        for (const Bucket& bucket : stage.layout.buckets) {
            const Part piece = checkpoint::part_of(bucket.padded, rank, parts);
            floats += 2 * piece.size() - muons_in(stage, bucket, piece);
        }
        most = std::max(most, floats);
    }
    return bytes_of(most);
}

std::uint64_t muon_bytes(const PlannedStage& stage) {
    std::int64_t layer = 0;
    std::int64_t matrix = 0;
    std::int64_t work = 0;
    for (const Bucket& bucket : stage.layout.buckets) {
        if (has_muon(stage, bucket)) layer = std::max(layer, stage.cut.tensor * bucket.padded);
    }
    for (const LocalTensor& tensor : stage.layout.tensors) {
        if (!is_muons(stage, tensor)) continue;
        const std::int64_t side = std::min(tensor.spec.shape[0], tensor.spec.shape[1]);
        matrix = std::max(matrix, tensor.spec.elements());
        work = std::max(work, tensor.spec.elements() + 2 * side * side);
    }
    return bytes_of(layer + matrix + work);
}

}  // namespace kiban::coordinator
