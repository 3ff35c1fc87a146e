// SPDX-License-Identifier: Apache-2.0
#include "data/stream_reader.h"

#include <algorithm>
#include <numeric>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

void count_from_zero(std::span<std::int32_t> positions) { std::iota(positions.begin(), positions.end(), 0); }

/// What a row does not have: padding that is a document of its own, and predicts nothing.
void pad(const RowParts& parts, std::size_t from) {
    std::ranges::fill(parts.inputs.subspan(from), 0);
    std::ranges::fill(parts.targets.subspan(from), kMasked);
    if (!parts.positions.empty()) count_from_zero(parts.positions.subspan(from));
}

}  // namespace

StreamReader::StreamReader(const Stream& stream, const std::vector<Shard>& shards, std::uint32_t sequence_length,
                           const RowLayout& layout)
    : segments_(stream.segments), shards_(&shards), length_(sequence_length), documents_apart_(layout.documents_apart) {
    for (const Segment& segment : segments_) {
        starts_.push_back(tokens_);
        tokens_ += segment.end - segment.begin;
    }
    if (layout.packing == Packing::best_fit) packed_ = pack();
    rows_ = packed_ ? packed_->rows() : tokens_ < 2 ? 0 : (tokens_ - 2) / length_ + 1;
}

std::shared_ptr<const PackedRows> StreamReader::pack() const {
    auto packed = std::make_shared<PackedRows>(length_);
    std::uint64_t first = 0;
    for (std::size_t index = 0; index < segments_.size(); ++index) {
        const Segment& segment = segments_[index];
        const Shard& shard = (*shards_)[segment.shard];
        const std::uint64_t origin = starts_[index] - segment.begin;  // may wrap, and wraps back
        for (std::uint64_t n = shard.documents_until(segment.begin);; ++n) {
            const std::uint64_t start = shard.document_start(n);
            if (start >= segment.end) break;
            packed->add_document(first, origin + start - first);
            first = origin + start;
        }
        const bool ends = index + 1 == segments_.size() || !(*shards_)[segments_[index + 1].shard].first_continues();
        if (!ends) continue;
        const std::uint64_t end = starts_[index] + segment.end - segment.begin;
        packed->add_document(first, end - first);
        first = end;
    }
    packed->finish();
    return packed;
}

void StreamReader::read_row(std::uint64_t row, const RowParts& parts) const {
    packed_ ? read_packed(row, parts) : read_concatenated(row, parts);
}

// Row k covers tokens kT .. kT+T.
void StreamReader::read_concatenated(std::uint64_t row, const RowParts& parts) const {
    const std::uint64_t first = row * parts.inputs.size();
    const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(parts.inputs.size(), tokens_ - 1 - first));
    copy(first, parts.inputs.first(count));
    copy(first + 1, parts.targets.first(count));
    hide_in(first, parts.inputs.first(count), parts.targets.first(count));
    pad(parts, count);
    if (parts.positions.empty() && !documents_apart_) return;
    for (std::size_t at = 0; at < count;) {
        const std::uint64_t next = next_document(first + at);
        const auto end = static_cast<std::size_t>(std::min<std::uint64_t>(count, next - first));
        if (!parts.positions.empty()) count_from_zero(parts.positions.subspan(at, end - at));
        if (documents_apart_ && next - first <= count && next < tokens_) parts.targets[end - 1] = kMasked;
        at = end;
    }
}

void StreamReader::read_packed(std::uint64_t row, const RowParts& parts) const {
    std::size_t at = 0;
    for (const PackedPiece& piece : packed_->row(row)) {
        copy(piece.first, parts.inputs.subspan(at, piece.targets));
        copy(piece.first + 1, parts.targets.subspan(at, piece.targets));
        hide_in(piece.first, parts.inputs.subspan(at, piece.targets), parts.targets.subspan(at, piece.targets));
        if (!parts.positions.empty()) count_from_zero(parts.positions.subspan(at, piece.targets));
        at += piece.targets;
    }
    pad(parts, at);
}

void StreamReader::hide(std::vector<TokenRange> ranges, std::int64_t end_of_document) {
    hidden_ = std::move(ranges);
    end_of_document_ = end_of_document;
}

// Input i is token `first` + i, target i the one behind it.
void StreamReader::hide_in(std::uint64_t first, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const {
    const std::uint64_t end = first + inputs.size() + 1;
    auto range = std::ranges::upper_bound(hidden_, first, {}, &TokenRange::end);
    for (; range != hidden_.end() && range->begin < end; ++range) {
        for (std::uint64_t at = std::max(range->begin, first); at < std::min(range->end, end); ++at) {
            const auto i = static_cast<std::size_t>(at - first);
            if (i < inputs.size()) inputs[i] = end_of_document_;
            if (i > 0) targets[i - 1] = kMasked;
        }
    }
}

std::size_t StreamReader::segment_at(std::uint64_t token) const {
    return static_cast<std::size_t>(std::ranges::upper_bound(starts_, token) - starts_.begin() - 1);
}

void StreamReader::copy(std::uint64_t first, std::span<std::int64_t> ids) const {
    for (std::size_t index = segment_at(first); !ids.empty(); ++index) {
        const Segment& segment = segments_[index];
        const std::uint64_t begin = segment.begin + first - starts_[index];
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(ids.size(), segment.end - begin));
        (*shards_)[segment.shard].read(begin, ids.first(count));
        ids = ids.subspan(count);
        first += count;
    }
}

std::uint64_t StreamReader::next_document(std::uint64_t token) const {
    std::size_t index = segment_at(token);
    std::uint64_t within = segments_[index].begin + token - starts_[index];
    for (;; ++index) {
        const Segment& segment = segments_[index];
        const Shard& shard = (*shards_)[segment.shard];
        const std::uint64_t start = shard.document_start(shard.documents_until(within));
        if (start < segment.end) return starts_[index] + start - segment.begin;
        if (index + 1 == segments_.size()) return tokens_;
        if (!(*shards_)[segments_[index + 1].shard].first_continues()) return starts_[index + 1];
        within = segments_[index + 1].begin;
    }
}

}  // namespace kiban::data
