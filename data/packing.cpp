// SPDX-License-Identifier: Apache-2.0
#include "data/packing.h"

#include <algorithm>
#include <bit>
#include <utility>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::uint32_t kNone = 0xFFFFFFFF;

// Rows that are not full, by the room that is left in them; of equals the one that was last put in comes first.
class OpenRows {
  public:
    explicit OpenRows(std::uint32_t length) : newest_(length + 1, kNone), there_(length / 64 + 1) {}

    void put(std::uint32_t row, std::uint32_t room) {
        if (older_.size() <= row) older_.resize(row + std::size_t{1}, kNone);
        older_[row] = newest_[room];
        newest_[room] = row;
        there_[room / 64] |= std::uint64_t{1} << room % 64;
    }

    /// The row with the least room of at least so much, and that room; kNone when there is none.
    std::pair<std::uint32_t, std::uint32_t> take(std::uint32_t least) {
        std::size_t word = least / 64;
        std::uint64_t bits = there_[word] & ~std::uint64_t{0} << least % 64;
        while (bits == 0) {
            if (++word == there_.size()) return {kNone, 0};
            bits = there_[word];
        }
        const auto room = static_cast<std::uint32_t>(64 * word) + static_cast<std::uint32_t>(std::countr_zero(bits));
        const std::uint32_t row = newest_[room];
        newest_[room] = older_[row];
        if (newest_[room] == kNone) there_[word] &= ~(std::uint64_t{1} << room % 64);
        return {row, room};
    }

  private:
    std::vector<std::uint32_t> newest_;  // by room
    std::vector<std::uint32_t> older_;   // by row: the one with the same room below it
    std::vector<std::uint64_t> there_;   // a bit for each room that some row has
};

}  // namespace

PackedRows::PackedRows(std::uint32_t sequence_length) : length_(sequence_length) {
    KIBAN_CHECK(length_ > 0 && length_ < kNone, "rows of {} tokens", length_);
}

void PackedRows::add_document(std::uint64_t first, std::uint64_t tokens) {
    if (tokens < 2) return;  // nothing to predict
    std::uint64_t targets = tokens - 1;
    targets_ += targets;
    for (; targets >= length_; targets -= length_, first += length_) full_.push_back({first, length_});
    if (targets > 0) rests_.push_back({first, static_cast<std::uint32_t>(targets)});
}

// Sorted by counting; of equals the first of the stream goes first.
std::vector<std::uint32_t> PackedRows::longest_first() const {
    std::vector<std::uint32_t> ends(length_ + std::size_t{1});
    for (const PackedPiece& piece : rests_) ++ends[length_ - piece.targets];
    std::uint32_t before = 0;
    for (std::uint32_t& end : ends) before += std::exchange(end, before);
    std::vector<std::uint32_t> order(rests_.size());
    for (std::uint32_t i = 0; i < rests_.size(); ++i) order[ends[length_ - rests_[i].targets]++] = i;
    return order;
}

void PackedRows::finish() {
    KIBAN_CHECK(rests_.size() < kNone, "{} documents in one source: expected less than 2^32 - 1", rests_.size());
    const std::vector<std::uint32_t> order = longest_first();
    std::vector<std::uint32_t> row_of(order.size());  // by place in `order`
    std::vector<std::uint32_t> counts;
    OpenRows open(length_);
    for (std::size_t i = 0; i < order.size(); ++i) {
        const std::uint32_t targets = rests_[order[i]].targets;
        auto [row, room] = open.take(targets);
        if (row == kNone) {
            row = static_cast<std::uint32_t>(counts.size());
            room = length_;
            counts.push_back(0);
        }
        row_of[i] = row;
        ++counts[row];
        if (room > targets) open.put(row, room - targets);
    }
    pieces_ = std::move(full_);
    starts_.reserve(pieces_.size() + counts.size() + 1);
    for (std::uint64_t row = 0; row <= pieces_.size(); ++row) starts_.push_back(row);
    std::vector<std::uint64_t> next;
    next.reserve(counts.size());
    for (const std::uint32_t count : counts) {
        next.push_back(starts_.back());
        starts_.push_back(starts_.back() + count);
    }
    pieces_.resize(static_cast<std::size_t>(starts_.back()));
    for (std::size_t i = 0; i < order.size(); ++i)
        pieces_[static_cast<std::size_t>(next[row_of[i]]++)] = rests_[order[i]];
    full_ = {};
    rests_ = {};
}

std::span<const PackedPiece> PackedRows::row(std::uint64_t row) const {
    const auto begin = static_cast<std::size_t>(starts_[row]);
    return std::span(pieces_).subspan(begin, static_cast<std::size_t>(starts_[row + 1]) - begin);
}

}  // namespace kiban::data
