// SPDX-License-Identifier: Apache-2.0
// Which rows a data-parallel worker trains on in a step, and the buffers they are read into.
//
// A step covers batch_rows rows of the order. Micro-batch m holds rows m*b .. (m+1)*b-1 of the step; worker d of D
// takes the contiguous block of micro-batches d*M/D .. (d+1)*M/D-1, so the same micro-batches exist for every D that
// divides M.
#pragma once

#include <cstdint>
#include <vector>

#include "data/corpus.h"
#include "worker/model/transformer.h"

namespace kiban::worker {

struct MicroBatches {
    std::uint64_t first = 0;  // of this worker, counted within the step
    std::uint64_t count = 0;
    std::uint64_t rows = 0;  // of one micro-batch
};

/// ConfigError naming the numbers when micro-batches do not tile the batch, or workers do not divide the micro-batches.
MicroBatches micro_batches_of(std::uint64_t batch_rows, std::uint64_t micro_batch_rows, int rank, int ranks);

class StepRows {
  public:
    /// `corpus` must outlive it. Memory for one worker's rows of a step is allocated here, once.
    StepRows(const data::Corpus& corpus, const MicroBatches& mine);

    /// Reads this worker's rows of the step that begins at `position` of the order; returns how many targets they hold.
    std::uint64_t read(std::uint64_t position);
    std::uint64_t micro_batches() const { return mine_.count; }
    /// Views, valid until the next read().
    Batch micro_batch(std::uint64_t index) const;

  private:
    const data::Corpus& corpus_;
    MicroBatches mine_;
    std::vector<std::int64_t> inputs_;
    std::vector<std::int64_t> targets_;
    std::vector<std::int32_t> positions_;  // none where nobody reads them
};

}  // namespace kiban::worker
