// SPDX-License-Identifier: Apache-2.0
// What a worker reads: rows of a prepared corpus by position of the sample order, and the holdout's rows in fixed
// order.
//
// Row k of a stream of n tokens covers tokens kT .. kT+T: T inputs and T targets (the inputs shifted by one); the last
// row may be partial, its missing targets are kMasked (inputs there are 0). With best-fit packing a row is made of
// whole documents instead (data/packing.h). Shards are memory-mapped; thread-safe after construction.
#pragma once

#include <cstdint>
#include <memory>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/document_id.h"
#include "data/manifest.h"
#include "data/order.h"

namespace kiban::data {

inline constexpr std::int64_t kMasked = -1;

struct RowRange {  // rows [first, first + count) of the order or of the holdout
    std::uint64_t first = 0;
    std::uint64_t count = 0;
};

struct RowLayout {
    Packing packing = Packing::concat;
    bool documents_apart = false;  // where a target begins another document than its input's, it is kMasked
};

class Corpus {
  public:
    /// `weights` per source of the manifest; the tokens of `forgotten` documents are hidden (data/forgotten.h).
    /// DataError when a stream has fewer than 2 tokens or a shard does not open. With best-fit packing all documents
    /// are looked at here (about 0.1 s a million, 24 bytes each).
    Corpus(Manifest manifest, const std::vector<double>& weights, std::uint32_t sequence_length, std::uint64_t seed,
           RowLayout layout = {}, const std::set<DocumentId>& forgotten = {});
    ~Corpus();
    Corpus(Corpus&&) noexcept;

    /// From now on rows come by a mixture that changes. ConfigError as of SampleOrder. Not while others read.
    void mix(const std::vector<MixtureSegment>& mixture);

    const Manifest& manifest() const;
    const SampleOrder& order() const;
    std::uint32_t vocabulary() const;
    std::uint32_t sequence_length() const;
    /// Whether a document's first token is no target of the one before it (RowLayout).
    bool documents_apart() const;
    std::uint64_t train_rows() const;  // of one epoch over all sources
    std::vector<std::uint64_t> rows_by_source() const;
    std::uint64_t holdout_rows() const;  // over all sources, in the manifest's order

    /// The tokens of the source's training stream that a row of it reads, in the row's order: with best-fit packing a
    /// range for each of its documents.
    std::vector<TokenRange> tokens_of(std::uint32_t source, std::uint64_t row) const;
    /// Rows of the source's training stream that read any token of `range`, ascending.
    std::vector<std::uint64_t> rows_with(std::uint32_t source, const TokenRange& range) const;

    /// Fills inputs, targets and, unless it is empty, positions, each count*T, row after row. A token's position is
    /// that in its document, counted from the row's first token of it: 0 is where a document, or a row, begins.
    /// DataError when a block's checksum does not match.
    void read_train(RowRange rows, std::span<std::int64_t> inputs, std::span<std::int64_t> targets,
                    std::span<std::int32_t> positions = {}) const;
    void read_holdout(RowRange rows, std::span<std::int64_t> inputs, std::span<std::int64_t> targets,
                      std::span<std::int32_t> positions = {}) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::data
