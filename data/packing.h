// SPDX-License-Identifier: Apache-2.0
// Rows of whole documents: best-fit packing (Ding et al. 2024, "Fewer Truncations Improve Language Modeling").
//
// A document of n tokens has n - 1 targets, each with the token before it as input. So many at a time fill rows of
// their own; what is left over goes, the longest first, into the row that it fills best. Nothing is predicted across
// documents, and what remains of a row is padding. A pure function of the documents' lengths and T. Definition:
// data/FORMAT.md.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace kiban::data {

struct PackedPiece {  // inputs are the tokens first .. first + targets - 1 of the stream, targets those one further
    std::uint64_t first = 0;  // of the stream
    std::uint32_t targets = 0;
};

class PackedRows {
  public:
    /// Documents are added in the order of the stream, then finish().
    explicit PackedRows(std::uint32_t sequence_length);
    void add_document(std::uint64_t first, std::uint64_t tokens);
    void finish();

    std::uint64_t rows() const { return starts_.empty() ? 0 : starts_.size() - 1; }
    std::span<const PackedPiece> row(std::uint64_t row) const;
    /// Asks the processor for where the row's pieces are said to be; for those. Errors: none.
    void fetch_start(std::uint64_t row) const { __builtin_prefetch(starts_.data() + row); }
    void fetch_pieces(std::uint64_t row) const { __builtin_prefetch(pieces_.data() + starts_[row]); }
    std::uint64_t targets() const { return targets_; }

  private:
    std::vector<std::uint32_t> longest_first() const;

    std::uint32_t length_;
    std::uint64_t targets_ = 0;
    std::vector<PackedPiece> full_;    // rows of one piece, until finish()
    std::vector<PackedPiece> rests_;   // shorter ones, until finish()
    std::vector<PackedPiece> pieces_;  // row after row
    std::vector<std::uint64_t> starts_;
};

}  // namespace kiban::data
