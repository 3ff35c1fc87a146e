// SPDX-License-Identifier: Apache-2.0
#include "worker/train/evaluation.h"

#include <algorithm>
#include <array>
#include <numeric>
#include <utility>

#include "checkpoint/placement.h"
#include "monitoring/error.h"

namespace kiban::worker {

Evaluation::Evaluation(const data::Corpus& corpus, std::uint64_t micro_batch_rows, Group data_group, Group world)
    : corpus_(corpus),
      rows_(micro_batch_rows),
      micro_batches_((corpus.holdout_rows() + rows_ - 1) / rows_),
      group_(std::move(data_group)),
      world_(std::move(world)),
      inputs_(static_cast<std::size_t>(rows_ * corpus.sequence_length())),
      targets_(inputs_.size()),
      positions_(corpus.documents_apart() ? inputs_.size() : 0) {}

std::optional<HoldoutScore> Evaluation::holdout(const Score& score) {
    if (micro_batches_ == 0) return std::nullopt;
    const checkpoint::Part mine =
        checkpoint::part_of(static_cast<std::int64_t>(micro_batches_), group_.rank(), group_.size());
    const auto count = static_cast<std::size_t>(micro_batches_);
    std::vector<double> sums(count + 1);  // the last one: targets said first, an integer that the order leaves as it is
    targets_seen_ = 0;
    // A worker whose share is shorter passes a masked micro-batch more: where parameters are gathered for each pass,
    // all workers must come to it equally often.
    const std::int64_t longest =
        checkpoint::part_of(static_cast<std::int64_t>(micro_batches_), 0, group_.size()).size();
    for (std::int64_t index = mine.begin; index < mine.begin + longest; ++index) {
        if (index >= mine.end) {
            masked_micro_batch(score);
            continue;
        }
        const Scored scored = micro_batch(score, static_cast<std::uint64_t>(index));
        sums[static_cast<std::size_t>(index)] = scored.loss;
        sums[count] += static_cast<double>(scored.first_choices);
    }
    // One term of each sum is not zero, or several where a micro-batch's tokens are shared out: the order of the data
    // workers does not matter.
    world_.all_reduce_sum(std::span<double>(sums));
    std::array<std::uint64_t, 1> targets = {targets_seen_};
    group_.all_reduce_sum(std::span<std::uint64_t>(targets));
    if (targets[0] == 0) return std::nullopt;  // all of its documents are forgotten
    const auto all = static_cast<double>(targets[0]);
    return HoldoutScore{.loss = std::accumulate(sums.begin(), sums.end() - 1, 0.0) / all,
                        .accuracy = sums[count] / all,
                        .targets = targets[0]};
}

Scored Evaluation::micro_batch(const Score& score, std::uint64_t index) {
    const std::uint64_t first = index * rows_;
    const std::uint64_t rows = std::min(rows_, corpus_.holdout_rows() - first);
    const auto values = static_cast<std::size_t>(rows * corpus_.sequence_length());
    corpus_.read_holdout({.first = first, .count = rows}, std::span(inputs_).first(values),
                         std::span(targets_).first(values),
                         std::span(positions_).first(positions_.empty() ? 0 : values));
    std::fill(inputs_.begin() + static_cast<std::ptrdiff_t>(values), inputs_.end(), 0);
    std::fill(targets_.begin() + static_cast<std::ptrdiff_t>(values), targets_.end(), data::kMasked);
    targets_seen_ +=
        targets_.size() - static_cast<std::uint64_t>(std::count(targets_.begin(), targets_.end(), data::kMasked));
    return score(
        {.rows = static_cast<std::int64_t>(rows_), .inputs = inputs_, .targets = targets_, .positions = positions_});
}

void Evaluation::masked_micro_batch(const Score& score) {
    std::fill(inputs_.begin(), inputs_.end(), 0);
    std::fill(targets_.begin(), targets_.end(), data::kMasked);
    score({.rows = static_cast<std::int64_t>(rows_), .inputs = inputs_, .targets = targets_, .positions = positions_});
}

}  // namespace kiban::worker
