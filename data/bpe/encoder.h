// SPDX-License-Identifier: Apache-2.0
// Text to tokens by a BPE model: pieces, a cache of short ones, merges for the others. One a thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "data/bpe/merger.h"
#include "data/bpe/model.h"

namespace kiban::data {

enum class SplitPath { fastest, generic };  // a scanner where there is one; always regular expressions

class BpeEncoder {
  public:
    /// Room for tokens that encode() may write over past the last one it gives.
    static constexpr std::size_t kSlack = 4;

    explicit BpeEncoder(std::shared_ptr<const BpeModel> model, SplitPath path = SplitPath::fastest);

    /// The tokens of `text` up to byte `stop`, as if they were cut there after the pieces of all of it were found; no
    /// special ones. `ids` has room for stop + kSlack. How many.
    std::size_t encode(std::string_view text, std::size_t stop, std::uint32_t* ids);
    /// Special tokens that the text spells are made too: for texts of our own, never for documents.
    std::vector<std::uint32_t> encode_with_special(std::string_view text);
    /// How often the text spells a special token.
    std::uint64_t count_special(std::string_view text);

  private:
    static constexpr std::size_t kCachedBytes = 15;
    static constexpr std::size_t kCachedIds = 3;

    struct Key {  // a piece of at most 15 bytes
        std::uint64_t low = 0;
        std::uint64_t high = 0;  // its last byte is the piece's length: 0 in a free entry
        bool operator==(const Key&) const = default;
    };
    struct Cached {
        Key key;
        std::uint32_t ids[kCachedIds] = {};
        std::uint32_t count = 0;
    };
    struct alignas(64) Bucket {  // a cache line: the newest of its pieces, and the one before
        Cached entries[2];
    };
    struct Piece {
        std::size_t begin = 0;
        std::size_t bytes = 0;
        Key key;
        Bucket* bucket = nullptr;  // null: too long for the cache
    };

    std::size_t encode_plain(std::string_view text, std::size_t stop, std::uint32_t* ids);
    std::size_t encode_pieces(std::string_view text, std::size_t begin, std::span<const std::uint32_t> ends,
                              std::uint32_t* ids);
    std::size_t encode_piece(std::string_view text, const Piece& piece, std::uint32_t* ids);
    template <typename Found>
    void cut_out(Matcher& matcher, std::string_view text, std::size_t stop, const Found& found);

    static Key key_of(std::string_view text, std::size_t begin, std::size_t bytes);
    std::size_t slot_of(const Key& key) const;
    static void put(Bucket& bucket, const Cached& cached);
    void grow();

    std::shared_ptr<const BpeModel> model_;
    std::unique_ptr<Splitter> splitter_;
    Merger merger_;
    std::vector<std::uint32_t> ends_;
    std::vector<Bucket> cache_;  // grows with what is put in
    std::size_t put_in_ = 0;
    std::unique_ptr<Matcher> ordinary_;
    std::unique_ptr<Matcher> special_;
    std::unique_ptr<Matcher> all_;
};

}  // namespace kiban::data
