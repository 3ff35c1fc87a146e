// SPDX-License-Identifier: Apache-2.0
// The holdout loss: nats per target token over every held-out row.
//
// Rows and micro-batch shape are fixed (the last one is filled with masked rows), each worker takes a contiguous block
// of micro-batches, and their sums are added in the holdout's order in double: the number of workers changes nothing.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <vector>

#include "data/corpus.h"
#include "worker/comm/group.h"
#include "worker/model/transformer.h"

namespace kiban::worker {

struct HoldoutScore {
    double loss = 0;      // nats per target token
    double accuracy = 0;  // share of the target tokens that the model would have said first
    std::uint64_t targets = 0;

    bool operator==(const HoldoutScore&) const = default;
};

class Evaluation {
  public:
    /// `corpus` must outlive it.
    /// `data_group` shares out the micro-batches; `world` holds whoever scores some of their tokens.
    Evaluation(const data::Corpus& corpus, std::uint64_t micro_batch_rows, Group data_group, Group world);

    using Score = std::function<Scored(const Batch&)>;  // over the tokens that are scored here
    /// Communicates. nullopt when nothing is held out.
    std::optional<HoldoutScore> holdout(const Score& score);

  private:
    Scored micro_batch(const Score& score, std::uint64_t index);
    void masked_micro_batch(const Score& score);

    const data::Corpus& corpus_;
    std::uint64_t rows_;  // of one micro-batch
    std::uint64_t micro_batches_;
    Group group_;
    Group world_;
    std::uint64_t targets_seen_ = 0;
    std::vector<std::int64_t> inputs_;
    std::vector<std::int64_t> targets_;
    std::vector<std::int32_t> positions_;  // none where nobody reads them
};

}  // namespace kiban::worker
