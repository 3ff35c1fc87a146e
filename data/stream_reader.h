// SPDX-License-Identifier: Apache-2.0
// The rows of one stream (data/manifest.h): its segments as one address space of tokens and documents. Private to
// data/; immutable, thread-safe. Errors: as data/shard.h.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

#include "data/corpus.h"
#include "data/forgotten.h"
#include "data/packing.h"
#include "data/shard.h"

namespace kiban::data {

struct RowParts {  // T each
    std::span<std::int64_t> inputs;
    std::span<std::int64_t> targets;
    std::span<std::int32_t> positions;  // or empty
};

class StreamReader {
  public:
    /// `shards` must outlive it. With best-fit packing all documents are looked at here.
    StreamReader(const Stream& stream, const std::vector<Shard>& shards, std::uint32_t sequence_length,
                 const RowLayout& layout);

    std::uint64_t tokens() const { return tokens_; }
    std::uint64_t rows() const { return rows_; }
    void read_row(std::uint64_t row, const RowParts& parts) const;
    /// What a row reads, in its order; which rows read any of a range's tokens, ascending.
    std::vector<TokenRange> tokens_of(std::uint64_t row) const;
    std::vector<std::uint64_t> rows_with(const TokenRange& range) const;
    /// Before read_row(): asks the processor for what it will need, one thing after another that is found by the one
    /// before. Called for many rows at once, their waits for memory overlap.
    static constexpr int kFetches = 3;
    void fetch(std::uint64_t row, int which) const;
    /// What is read of these tokens from now on: ends of documents as inputs, and no targets.
    void hide(std::vector<TokenRange> ranges, std::int64_t end_of_document);

  private:
    void hide_in(std::uint64_t first, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const;
    void read_concatenated(std::uint64_t row, const RowParts& parts) const;
    void read_packed(std::uint64_t row, const RowParts& parts) const;
    void copy(std::uint64_t first, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const;
    void copy(std::uint64_t first, std::span<std::int64_t> ids) const;
    void separate_documents(std::uint64_t first, std::size_t count, const RowParts& parts) const;
    void fetch_tokens(std::uint64_t first, std::uint64_t count) const;
    std::size_t segment_at(std::uint64_t token) const;
    std::shared_ptr<const PackedRows> pack() const;

    std::vector<Segment> segments_;
    std::vector<std::uint64_t> starts_;  // position of each segment's first token
    std::uint64_t tokens_ = 0;
    std::uint64_t rows_ = 0;
    const std::vector<Shard>* shards_;
    std::uint32_t length_;
    bool documents_apart_;
    std::shared_ptr<const PackedRows> packed_;  // null: concatenated
    std::vector<TokenRange> hidden_;            // ascending
    std::int64_t end_of_document_ = 0;
};

}  // namespace kiban::data
