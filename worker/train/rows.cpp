// SPDX-License-Identifier: Apache-2.0
#include "worker/train/rows.h"

#include <algorithm>

#include "monitoring/error.h"

namespace kiban::worker {

MicroBatches micro_batches_of(std::uint64_t batch_rows, std::uint64_t micro_batch_rows, int rank, int ranks) {
    if (micro_batch_rows == 0 || batch_rows == 0 || batch_rows % micro_batch_rows != 0) {
        throw ConfigError(
            "cannot cut a batch of {} rows (train.batch_rows) into micro-batches of {} rows (train.micro_batch_rows)",
            batch_rows, micro_batch_rows);
    }
    const std::uint64_t all = batch_rows / micro_batch_rows;
    const auto workers = static_cast<std::uint64_t>(ranks);
    if (all % workers != 0) {
        throw ConfigError(
            "cannot share {} micro-batches (train.batch_rows {} / train.micro_batch_rows {}) among {} data-parallel "
            "workers",
            all, batch_rows, micro_batch_rows, ranks);
    }
    const std::uint64_t count = all / workers;
    return {.first = static_cast<std::uint64_t>(rank) * count, .count = count, .rows = micro_batch_rows};
}

StepRows::StepRows(const data::Corpus& corpus, const MicroBatches& mine)
    : corpus_(corpus),
      mine_(mine),
      inputs_(static_cast<std::size_t>(mine.count * mine.rows * corpus.sequence_length())),
      targets_(inputs_.size()),
      positions_(corpus.documents_apart() ? inputs_.size() : 0) {}

std::uint64_t StepRows::read(std::uint64_t position) {
    corpus_.read_train({.first = position + mine_.first * mine_.rows, .count = mine_.count * mine_.rows}, inputs_,
                       targets_, positions_);
    const auto masked = std::count(targets_.begin(), targets_.end(), data::kMasked);
    return targets_.size() - static_cast<std::uint64_t>(masked);
}

Batch StepRows::micro_batch(std::uint64_t index) const {
    const auto values = static_cast<std::size_t>(mine_.rows * corpus_.sequence_length());
    const auto begin = static_cast<std::size_t>(index) * values;
    return {.rows = static_cast<std::int64_t>(mine_.rows),
            .inputs = std::span(inputs_).subspan(begin, values),
            .targets = std::span(targets_).subspan(begin, values),
            .positions =
                positions_.empty() ? std::span<const std::int32_t>() : std::span(positions_).subspan(begin, values)};
}

}  // namespace kiban::worker
