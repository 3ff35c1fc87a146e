// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/merger.h"

#include <algorithm>
#include <array>

namespace kiban::data {

std::size_t Merger::merge(std::string_view piece, std::uint32_t* ids) {
    if (model_.definition().ignore_merges) {
        if (const auto whole = model_.whole_piece(piece)) {
            ids[0] = *whole;
            return 1;
        }
    }
    if (piece.size() <= kShortBytes) return merge_short(piece, ids);
    const bool repeats = piece.find_first_not_of(piece.front()) == std::string_view::npos;
    return repeats && model_.in_order() ? merge_repeat(piece, ids) : merge_long(piece, ids);
}

std::size_t Merger::merge_short(std::string_view piece, std::uint32_t* ids) const {
    const MergeTable& merges = model_.merges();
    std::array<Merged, kShortBytes> pairs;  // of each token with the one after it
    std::size_t count = piece.size();
    for (std::size_t i = 0; i < count; ++i) ids[i] = model_.byte_token(static_cast<unsigned char>(piece[i]));
    for (std::size_t i = 0; i + 1 < count; ++i) pairs[i] = merges.find(ids[i], ids[i + 1]);
    while (count > 1) {
        std::size_t best = 0;
        for (std::size_t i = 1; i + 1 < count; ++i) {
            if (pairs[i].rank < pairs[best].rank) best = i;
        }
        if (pairs[best].rank == kNoMerge) break;
        ids[best] = pairs[best].token;
        std::copy(ids + best + 2, ids + count, ids + best + 1);
        if (best + 2 < count) std::copy(&pairs[best + 2], &pairs[count - 1], &pairs[best + 1]);
        --count;
        if (best > 0) pairs[best - 1] = merges.find(ids[best - 1], ids[best]);
        if (best + 1 < count) pairs[best] = merges.find(ids[best], ids[best + 1]);
    }
    return count;
}

void Merger::start_long(std::string_view piece) {
    const auto count = static_cast<std::uint32_t>(piece.size());
    tokens_.resize(count);
    next_.resize(count);
    previous_.resize(count);
    entries_.clear();
    entries_.reserve(count);
    if (lists_.empty()) lists_.resize(model_.definition().merges.size());
    for (std::uint32_t i = 0; i < count; ++i) {
        tokens_[i] = model_.byte_token(static_cast<unsigned char>(piece[i]));
        next_[i] = i + 1;
        previous_[i] = i - 1;  // of the first: kNone
    }
    next_[count - 1] = kNone;
    for (std::uint32_t i = 0; i + 1 < count; ++i) offer(i);
}

/// Puts a position that has a next one into the list of the merge of the two.
void Merger::offer(std::uint32_t position) {
    const std::uint32_t rank = model_.merges().find(tokens_[position], tokens_[next_[position]]).rank;
    if (rank == kNoMerge) return;
    List& list = lists_[rank];
    if (list.count == 0) ranks_.push(rank);
    entries_.push_back({position, list.newest});
    list.newest = static_cast<std::uint32_t>(entries_.size() - 1);
    ++list.count;
}

void Merger::take_positions(std::uint32_t rank) {
    List& list = lists_[rank];
    positions_.resize(list.count);
    std::uint32_t after = kNone;
    bool sorted = true;  // mostly they came from left to right
    std::uint32_t entry = list.newest;
    for (std::size_t i = list.count; i-- > 0; entry = entries_[entry].next) {
        positions_[i] = entries_[entry].position;
        sorted = sorted && positions_[i] <= after;
        after = positions_[i];
    }
    list = {};
    if (!sorted) std::sort(positions_.begin(), positions_.end());
}

/// Of the token at `position` and the one after it. Gives the position after both.
std::uint32_t Merger::join(std::uint32_t position, std::uint32_t merged) {
    const std::uint32_t second = next_[position];
    const std::uint32_t after = next_[second];
    tokens_[position] = merged;
    tokens_[second] = kNone;
    next_[position] = after;
    next_[second] = kNone;
    if (after != kNone) previous_[after] = position;
    return after;
}

void Merger::merge_rank(std::uint32_t rank) {
    const auto [left, right] = model_.definition().merges[rank];
    const std::uint32_t merged = model_.merges().find(left, right).token;
    for (std::size_t i = 0; i < positions_.size(); ++i) {
        const std::uint32_t at = positions_[i];
        const std::uint32_t second = next_[at];
        if (tokens_[at] != left || second == kNone || tokens_[second] != right) continue;  // another merge was stronger
        const std::uint32_t after = join(at, merged);
        if (previous_[at] != kNone) offer(previous_[at]);
        if (after != kNone) offer(at);
        // Merges in an unusual order may have made a stronger one possible: then it goes first.
        if (ranks_.empty() || ranks_.top() > rank) continue;
        for (std::size_t rest = i + 1; rest < positions_.size(); ++rest) {
            const std::uint32_t position = positions_[rest];
            if (tokens_[position] == left && next_[position] != kNone) offer(position);
        }
        return;
    }
}

void Merger::merge_rank_in_order(std::uint32_t rank) {
    const auto [left, right] = model_.definition().merges[rank];
    const std::uint32_t merged = model_.merges().find(left, right).token;
    std::size_t made = 0;
    for (const std::uint32_t at : positions_) {
        const std::uint32_t second = next_[at];
        if (tokens_[at] != left || second == kNone || tokens_[second] != right) continue;
        join(at, merged);
        positions_[made++] = at;
    }
    std::uint32_t before = kNone;
    for (std::size_t i = 0; i < made; ++i) {
        const std::uint32_t at = positions_[i];
        const std::uint32_t previous = previous_[at];
        if (previous != kNone && previous != before) offer(previous);  // `before` was offered with what follows it
        if (next_[at] != kNone) offer(at);
        before = at;
    }
}

/// Each merge halves the longest run or takes a token off a run's end, so that there are never many.
std::size_t Merger::merge_repeat(std::string_view piece, std::uint32_t* ids) {
    runs_.assign(1, {model_.byte_token(static_cast<unsigned char>(piece.front())), piece.size()});
    for (std::uint32_t rank = strongest_of_runs(); rank != kNoMerge; rank = strongest_of_runs()) merge_runs(rank);
    std::uint32_t* end = ids;
    for (const Run& run : runs_) end = std::fill_n(end, run.count, run.token);
    return static_cast<std::size_t>(end - ids);
}

std::uint32_t Merger::strongest_of_runs() const {
    std::uint32_t rank = kNoMerge;
    for (std::size_t i = 0; i < runs_.size(); ++i) {
        const std::uint32_t token = runs_[i].token;
        if (runs_[i].count > 1) rank = std::min(rank, model_.merges().find(token, token).rank);
        if (i + 1 < runs_.size()) rank = std::min(rank, model_.merges().find(token, runs_[i + 1].token).rank);
    }
    return rank;
}

/// All places of a merge, from left to right.
void Merger::merge_runs(std::uint32_t rank) {
    const auto [left, right] = model_.definition().merges[rank];
    const std::uint32_t merged = model_.merges().find(left, right).token;
    runs_before_.swap(runs_);
    runs_.clear();
    for (std::size_t i = 0; i < runs_before_.size(); ++i) {
        Run& run = runs_before_[i];
        if (run.token == left && left == right) {
            add_run(merged, run.count / 2);
            add_run(left, run.count % 2);
        } else if (run.token == left && i + 1 < runs_before_.size() && runs_before_[i + 1].token == right) {
            add_run(left, run.count - 1);
            add_run(merged, 1);
            --runs_before_[i + 1].count;
        } else {
            add_run(run.token, run.count);
        }
    }
}

void Merger::add_run(std::uint32_t token, std::size_t count) {
    if (count == 0) return;
    if (!runs_.empty() && runs_.back().token == token)
        runs_.back().count += count;
    else
        runs_.push_back({token, count});
}

std::size_t Merger::merge_long(std::string_view piece, std::uint32_t* ids) {
    start_long(piece);
    while (!ranks_.empty()) {
        const std::uint32_t rank = ranks_.top();
        ranks_.pop();
        take_positions(rank);
        model_.in_order() ? merge_rank_in_order(rank) : merge_rank(rank);
    }
    std::size_t count = 0;
    for (std::uint32_t at = 0; at != kNone; at = next_[at]) ids[count++] = tokens_[at];
    return count;
}

}  // namespace kiban::data
