// SPDX-License-Identifier: Apache-2.0
#include "worker/optim/muon_update.h"

#include <algorithm>
#include <span>

namespace kiban::worker {
namespace {

using checkpoint::Box;
using checkpoint::Part;
using coordinator::Bucket;

// Where the part of a tensor lies that the given tensor rank holds: parts of one size, in the order of ranks.
Box box_on(const ParameterEntry& entry, int tensor_rank) {
    Box box = entry.box;
    for (std::size_t dim = 0; dim < box.extent.size(); ++dim) {
        if (box.extent[dim] != entry.spec.shape[dim]) box.offset[dim] = tensor_rank * box.extent[dim];
    }
    return box;
}

}  // namespace

MuonUpdate::MuonUpdate(const Parameters& parameters, const Mesh& mesh, OptimizerState& state)
    : parameters_(parameters), mesh_(mesh), state_(state), matrices_(parameters.layout().buckets.size()) {
    for (std::size_t i = 0; i < parameters.entries().size(); ++i) {
        const ParameterEntry& entry = parameters.entries()[i];
        if (state.is_muons(entry)) matrices_[static_cast<std::size_t>(entry.bucket)].push_back(i);
    }
}

void MuonUpdate::update(const MuonStep& step, const std::vector<OwnedPiece>& pieces, UpdateWatch* watch) {
    for (const OwnedPiece& piece : pieces) {
        if (matrices_[static_cast<std::size_t>(piece.bucket)].empty()) continue;
        layer_.grow(mesh_.tensor.size() * bucket_of(piece.bucket).padded);
        accumulate_momenta(step, piece);
        gather_layer(piece);
        orthogonalise_own(piece.bucket);
        return_slices(piece);
        apply(step, piece, watch);
    }
}

const Bucket& MuonUpdate::bucket_of(int bucket) const {
    return parameters_.layout().buckets[static_cast<std::size_t>(bucket)];
}

// At ZeRO stage 0, and on the only data-parallel worker.
bool MuonUpdate::is_whole(const OwnedPiece& piece) const {
    return piece.range.size() == bucket_of(piece.bucket).padded;
}

float* MuonUpdate::own_bucket(int bucket) { return layer_.data() + mesh_.tensor.rank() * bucket_of(bucket).padded; }

// What is not a matrix of Muon's becomes zero, so that the sums to come are of numbers that were written here.
void MuonUpdate::accumulate_momenta(const MuonStep& step, const OwnedPiece& piece) {
    const Bucket& bucket = bucket_of(piece.bucket);
    float* updates = own_bucket(piece.bucket);
    fill_floats(updates + piece.range.begin, piece.range.size(), 0.0F);
    for (const std::size_t index : matrices_[static_cast<std::size_t>(piece.bucket)]) {
        const ParameterEntry& entry = parameters_.entries()[index];
        const auto inside = part_inside(entry, bucket, piece.range);
        if (!inside) continue;
        const std::int64_t element = entry.offset - bucket.offset + inside->begin;
        muon_momentum(step, inside->size(), piece.gradients + (element - piece.range.begin),
                      state_.at(0, index, element), updates + element);
    }
}

// The workers are ordered so that their own parts of the buffer are their pieces of the buckets.
void MuonUpdate::gather_layer(const OwnedPiece& piece) {
    if (is_whole(piece) && mesh_.tensor.size() == 1) return;
    const auto elements = static_cast<std::size_t>(mesh_.tensor.size() * bucket_of(piece.bucket).padded);
    mesh_.layer.all_gather(std::span<float>(layer_.data(), elements));
}

// visit(box of the whole tensor, where it stands in the layer), once for each tensor rank.
void MuonUpdate::for_each_slice(const ParameterEntry& entry, const std::function<void(const Box&, float*)>& visit) {
    const Bucket& bucket = bucket_of(entry.bucket);
    for (int rank = 0; rank < mesh_.tensor.size(); ++rank) {
        visit(box_on(entry, rank), layer_.data() + rank * bucket.padded + (entry.offset - bucket.offset));
    }
}

// Of the other workers' matrices, zeros are left.
void MuonUpdate::orthogonalise_own(int bucket) {
    const std::vector<std::size_t>& matrices = matrices_[static_cast<std::size_t>(bucket)];
    for (std::size_t number = 0; number < matrices.size(); ++number) {
        const ParameterEntry& entry = parameters_.entries()[matrices[number]];
        if (static_cast<int>(number) % mesh_.layer.size() != mesh_.layer.rank()) {
            for_each_slice(entry, [&](const Box&, float* slice) { fill_floats(slice, entry.elements(), 0.0F); });
            continue;
        }
        const Box whole = checkpoint::whole(entry.spec.shape);
        matrix_.grow(entry.spec.elements());
        for_each_slice(entry,
                       [&](const Box& box, const float* slice) { copy_box(box, box, slice, whole, matrix_.data()); });
        orthogonalise(entry.spec.shape[0], entry.spec.shape[1], matrix_.data(), work_);
        for_each_slice(entry, [&](const Box& box, float* slice) { copy_box(box, whole, matrix_.data(), box, slice); });
    }
}

void MuonUpdate::return_slices(const OwnedPiece& piece) {
    const auto padded = static_cast<std::size_t>(bucket_of(piece.bucket).padded);
    const auto tensor = static_cast<std::size_t>(mesh_.tensor.size());
    mesh_.layer.reduce_scatter_sum(std::span<float>(layer_.data(), tensor * padded));
    if (is_whole(piece)) mesh_.shard.all_gather(std::span<float>(own_bucket(piece.bucket), padded));
}

void MuonUpdate::apply(const MuonStep& step, const OwnedPiece& piece, UpdateWatch* watch) {
    const Bucket& bucket = bucket_of(piece.bucket);
    const float* directions = own_bucket(piece.bucket);
    for (const std::size_t index : matrices_[static_cast<std::size_t>(piece.bucket)]) {
        const ParameterEntry& entry = parameters_.entries()[index];
        const auto inside = part_inside(entry, bucket, piece.range);
        if (!inside) continue;
        MuonStep here = step;
        if (!entry.spec.decay) here.weight_decay = 0;
        const double scale = muon_scale(entry.spec.shape[0], entry.spec.shape[1]);
        const auto change = [&](const Part& range) {
            muon_apply(here, scale, range.size(), directions + range.begin,
                       piece.values + (range.begin - piece.range.begin));
        };
        const std::int64_t offset = entry.offset - bucket.offset;
        const Part range{offset + inside->begin, offset + inside->end};
        if (watch == nullptr)
            change(range);
        else
            watch->run(piece, index, range, change);
    }
}

}  // namespace kiban::worker
