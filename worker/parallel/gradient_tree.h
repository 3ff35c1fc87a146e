// SPDX-License-Identifier: Apache-2.0
// Sums the gradients of a worker's micro-batches in one fixed binary tree instead of one after the other:
// tree(lo, hi) = tree(lo, mid) + tree(mid, hi), mid = lo + (hi - lo) / 2.
//
// A worker's contiguous block of micro-batches is a subtree of the tree over all of them when the number of workers is
// a power of two, and the sums over workers (comm/group.h) follow the same tree: so the bits of the sum do not depend
// on the number of workers. Costs one pass over the gradients a micro-batch but the first, and a buffer for each level.
// One thread.
#pragma once

#include <vector>

#include "worker/model/flat_buffer.h"
#include "worker/model/parameters.h"

namespace kiban::worker {

/// After leaf i of n is done, how many times the two newest sums are added. Sums to n - 1.
std::vector<int> merges_after_leaves(int n);

class GradientTree {
  public:
    /// `parameters`, which must hold their gradients, must outlive it.
    GradientTree(Parameters& parameters, int micro_batches);

    /// Before the first gradient of the next micro-batch is computed: it goes where no other sum stands.
    void begin_leaf();
    /// The gradient of that micro-batch is complete.
    void end_leaf();

  private:
    void attach(std::size_t level);
    float* memory(std::size_t level);

    Parameters& parameters_;
    std::vector<int> merges_;
    std::vector<FlatBuffer> buffers_;  // of levels 1, 2, ...; level 0 is what the parameters hold
    std::size_t depth_ = 0;            // sums that stand now
    std::size_t leaf_ = 0;             // of this step
};

}  // namespace kiban::worker
