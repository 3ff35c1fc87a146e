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
    copy(first, parts.inputs.first(count), parts.targets.first(count));
    hide_in(first, parts.inputs.first(count), parts.targets.first(count));
    pad(parts, count);
    if (!parts.positions.empty() || documents_apart_) separate_documents(first, count, parts);
}

// Documents begin where a shard's table says so, and with a segment unless its shard goes on with the one before.
void StreamReader::separate_documents(std::uint64_t first, std::size_t count, const RowParts& parts) const {
    std::size_t index = segment_at(first);
    const auto shard = [&]() -> const Shard& { return (*shards_)[segments_[index].shard]; };
    std::uint64_t document = shard().documents_until(segments_[index].begin + first - starts_[index]);  // the next one
    for (std::size_t at = 0; at < count;) {
        std::uint64_t next = tokens_;
        for (;;) {
            const std::uint64_t start = shard().document_start(document);
            if (start < segments_[index].end) {
                next = starts_[index] + start - segments_[index].begin;
                ++document;
                break;
            }
            if (index + 1 == segments_.size()) break;
            ++index;
            document = shard().documents_until(segments_[index].begin);
            if (shard().first_continues()) continue;
            next = starts_[index];
            break;
        }
        const auto end = static_cast<std::size_t>(std::min<std::uint64_t>(count, next - first));
        if (!parts.positions.empty()) count_from_zero(parts.positions.subspan(at, end - at));
        if (documents_apart_ && next - first <= count && next < tokens_) parts.targets[end - 1] = kMasked;
        at = end;
    }
}

void StreamReader::read_packed(std::uint64_t row, const RowParts& parts) const {
    std::size_t at = 0;
    for (const PackedPiece& piece : packed_->row(row)) {
        copy(piece.first, parts.inputs.subspan(at, piece.targets), parts.targets.subspan(at, piece.targets));
        hide_in(piece.first, parts.inputs.subspan(at, piece.targets), parts.targets.subspan(at, piece.targets));
        if (!parts.positions.empty()) count_from_zero(parts.positions.subspan(at, piece.targets));
        at += piece.targets;
    }
    pad(parts, at);
}

std::vector<TokenRange> StreamReader::tokens_of(std::uint64_t row) const {
    KIBAN_CHECK(row < rows_, "row {} of {}", row, rows_);
    if (!packed_) return {{row * length_, std::min((row + 1) * length_ + 1, tokens_)}};
    std::vector<TokenRange> ranges;
    for (const PackedPiece& piece : packed_->row(row)) ranges.push_back({piece.first, piece.first + piece.targets + 1});
    return ranges;
}

// Of rows that follow the stream, k ends with token (k + 1) T, which the next one begins with.
std::vector<std::uint64_t> StreamReader::rows_with(const TokenRange& range) const {
    std::vector<std::uint64_t> rows;
    if (range.begin >= range.end) return rows;
    const std::uint64_t first = packed_ || range.begin == 0 ? 0 : (range.begin - 1) / length_;
    const std::uint64_t end = packed_ ? rows_ : std::min((range.end - 1) / length_ + 1, rows_);
    for (std::uint64_t row = first; row < end; ++row) {
        const std::vector<TokenRange> tokens = tokens_of(row);
        const bool has = std::ranges::any_of(
            tokens, [&](const TokenRange& part) { return part.begin < range.end && range.begin < part.end; });
        if (has) rows.push_back(row);
    }
    return rows;
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

// Most rows lie in one segment.
void StreamReader::copy(std::uint64_t first, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const {
    const std::size_t index = segment_at(first);
    const Segment& segment = segments_[index];
    const std::uint64_t begin = segment.begin + first - starts_[index];
    if (begin + inputs.size() < segment.end) return (*shards_)[segment.shard].read(begin, inputs, targets);
    copy(first, inputs);
    copy(first + 1, targets);
}

void StreamReader::fetch(std::uint64_t row, int which) const {
    if (packed_) {
        if (which == 0) return packed_->fetch_start(row);
        if (which == 1) return packed_->fetch_pieces(row);
        for (const PackedPiece& piece : packed_->row(row)) fetch_tokens(piece.first, piece.targets + std::uint64_t{1});
        return;
    }
    const std::uint64_t first = row * length_;
    const std::size_t index = segment_at(first);
    const Shard& shard = (*shards_)[segments_[index].shard];
    const std::uint64_t token = segments_[index].begin + first - starts_[index];
    if (which == 0) shard.fetch_directory(token);
    if (which == 1) shard.fetch_documents(token);
    if (which == 2) fetch_tokens(first, length_ + std::uint64_t{1});
}

// The processor itself follows a run of lines once it is under way.
void StreamReader::fetch_tokens(std::uint64_t first, std::uint64_t count) const {
    constexpr std::uint64_t kAhead = 256;
    const std::size_t index = segment_at(first);
    const Segment& segment = segments_[index];
    const std::uint64_t begin = segment.begin + first - starts_[index];
    (*shards_)[segment.shard].fetch(begin, std::min({count, kAhead, segment.end - begin}));
}

}  // namespace kiban::data
