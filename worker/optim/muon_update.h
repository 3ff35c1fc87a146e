// SPDX-License-Identifier: Apache-2.0
// Muon (worker/kernels/muon.h) over a mesh: momentum on the slices where they lie, each whole matrix orthogonalised by
// one worker, the result applied to the slices.
//
// Layer by layer, among the workers of Mesh::layer. Their buckets of the layer form one buffer [tensor, padded], of
// which each worker owns the part that is its piece of the bucket. A layer is an all_gather of the momenta, the
// matrices shared out by their number modulo the workers, and a reduce_scatter of the results, which have one non-zero
// term each. A matrix's bits therefore depend on its gradient alone, not on the mesh. Scratch memory is kept from layer
// to layer: the buffer, one whole matrix and the work of orthogonalise. One thread.
#pragma once

#include <cstddef>
#include <functional>
#include <vector>

#include "checkpoint/box.h"
#include "worker/device/memory.h"
#include "worker/kernels/muon.h"
#include "worker/optim/optimizer_state.h"
#include "worker/optim/update_watch.h"
#include "worker/parallel/mesh.h"

namespace kiban::worker {

class MuonUpdate {
  public:
    /// `parameters` and `state` must outlive it.
    MuonUpdate(const Parameters& parameters, const Mesh& mesh, OptimizerState& state);

    /// Communicates. One step of every matrix that is Muon's, on `pieces`, the updated pieces of all buckets in order.
    /// Weight decay applies where the tensor's decay says so.
    /// `watch` may be null.
    void update(const MuonStep& step, const std::vector<OwnedPiece>& pieces, UpdateWatch* watch = nullptr);

  private:
    void accumulate_momenta(const MuonStep& step, const OwnedPiece& piece);
    void gather_layer(const OwnedPiece& piece);
    void orthogonalise_own(int bucket);
    void return_slices(const OwnedPiece& piece);
    void apply(const MuonStep& step, const OwnedPiece& piece, UpdateWatch* watch);

    const coordinator::Bucket& bucket_of(int bucket) const;
    bool is_whole(const OwnedPiece& piece) const;
    float* own_bucket(int bucket);
    void for_each_slice(const ParameterEntry& entry, const std::function<void(const checkpoint::Box&, float*)>& visit);

    const Parameters& parameters_;
    Mesh mesh_;
    OptimizerState& state_;
    std::vector<std::vector<std::size_t>> matrices_;  // entries, by bucket
    DeviceFloats layer_;                              // [tensor, padded] of the bucket at hand
    DeviceFloats matrix_;                             // a whole one
    std::vector<float> work_;                         // of the native kernel
};

}  // namespace kiban::worker
