// SPDX-License-Identifier: Apache-2.0
// One piece of text to tokens: of the pairs of neighbours that merge, always the strongest, the leftmost of equals.
//
// Short pieces by looking through their pairs; long ones through lists of positions by rank, so that the time per byte
// stays the same however long a piece is; a byte that is repeated as a few runs of equal tokens. Where merges come in
// the order of training, nothing that a merge makes can merge before it: all places of a rank then go together, and
// each new pair is looked up once. Not thread-safe: keeps its working memory.
#pragma once

#include <cstdint>
#include <queue>
#include <string_view>
#include <vector>

#include "data/bpe/model.h"

namespace kiban::data {

class Merger {
  public:
    explicit Merger(const BpeModel& model) : model_(model) {}

    /// Writes the tokens of a piece (at least 1 byte) to `ids`, which has room for one a byte; how many.
    std::size_t merge(std::string_view piece, std::uint32_t* ids);

  private:
    static constexpr std::size_t kShortBytes = 48;
    static constexpr std::uint32_t kNone = 0xFFFFFFFF;

    struct Entry {  // a position in the list of its rank
        std::uint32_t position = 0;
        std::uint32_t next = kNone;
    };

    struct Run {
        std::uint32_t token = 0;
        std::size_t count = 0;
    };

    struct List {
        std::uint32_t newest = kNone;
        std::uint32_t count = 0;
    };

    std::size_t merge_short(std::string_view piece, std::uint32_t* ids) const;
    std::size_t merge_long(std::string_view piece, std::uint32_t* ids);
    std::size_t merge_repeat(std::string_view piece, std::uint32_t* ids);
    std::uint32_t strongest_of_runs() const;
    void merge_runs(std::uint32_t rank);
    void add_run(std::uint32_t token, std::size_t count);
    void start_long(std::string_view piece);
    void offer(std::uint32_t position);
    void take_positions(std::uint32_t rank);
    void merge_rank(std::uint32_t rank);
    void merge_rank_in_order(std::uint32_t rank);
    std::uint32_t join(std::uint32_t position, std::uint32_t merged);

    const BpeModel& model_;
    // Of a long piece: its tokens as a list, and the positions at which each rank may apply.
    std::vector<std::uint32_t> tokens_;  // by position of the first byte; kNone where a merge has swallowed it
    std::vector<std::uint32_t> next_;
    std::vector<std::uint32_t> previous_;
    std::vector<List> lists_;  // by rank
    std::vector<Run> runs_;    // of a byte that is repeated: no two neighbours have the same token
    std::vector<Run> runs_before_;
    std::vector<Entry> entries_;
    std::vector<std::uint32_t> positions_;
    std::priority_queue<std::uint32_t, std::vector<std::uint32_t>, std::greater<>> ranks_;  // with a list
};

}  // namespace kiban::data
