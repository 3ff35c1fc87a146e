// SPDX-License-Identifier: Apache-2.0
// A BPE tokenizer ready for use: merges in a table, bytes of every token. Immutable, shared by threads.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "data/bpe/definition.h"
#include "data/bpe/regex.h"
#include "data/bpe/splitter.h"

namespace kiban::data {

inline constexpr std::uint32_t kNoMerge = 0xFFFFFFFF;

struct Merged {
    std::uint32_t rank = kNoMerge;  // lower is stronger; kNoMerge: the two do not merge
    std::uint32_t token = 0;
};

/// (left token, right token) -> merge: open addressing, at most half full.
class MergeTable {
  public:
    explicit MergeTable(std::size_t merges);
    void insert(std::uint32_t left, std::uint32_t right, Merged merged);

    Merged find(std::uint32_t left, std::uint32_t right) const {
        const std::uint64_t key = std::uint64_t{left} << 32 | right;
        for (std::size_t slot = slot_of(key);; slot = (slot + 1) & mask_) {
            if (slots_[slot].key == key) return slots_[slot].merged;
            if (slots_[slot].key == kFree) return {};
        }
    }

  private:
    static constexpr std::uint64_t kFree = ~std::uint64_t{0};
    struct Slot {
        std::uint64_t key = kFree;
        Merged merged;
    };

    std::size_t slot_of(std::uint64_t key) const {
        return static_cast<std::size_t>((key * 0x9E3779B97F4A7C15u) >> shift_);
    }

    std::vector<Slot> slots_;
    std::size_t mask_ = 0;
    unsigned shift_ = 0;
};

class BpeModel {
  public:
    /// ConfigError for a pattern that cannot be compiled.
    explicit BpeModel(BpeDefinition definition);

    std::uint32_t vocabulary() const { return definition_.vocabulary(); }
    const BpeDefinition& definition() const { return definition_; }
    const MergeTable& merges() const { return merges_; }
    const SplitterFactory& splitters() const { return splitters_; }
    std::uint32_t byte_token(unsigned char byte) const { return byte_tokens_[byte]; }

    /// Whether every merge comes after all that make its parts, as training gives them: then no merge makes a stronger
    /// one possible.
    bool in_order() const { return in_order_; }

    /// The token of a whole piece, where merges do not count for it (ignore_merges).
    std::optional<std::uint32_t> whole_piece(std::string_view piece) const;

    /// Added tokens that are cut out of any text (ordinary), and those that only a caller may ask for (special).
    const std::optional<Regex>& ordinary_added() const { return ordinary_added_; }
    const std::optional<Regex>& special_added() const { return special_added_; }
    const std::optional<Regex>& all_added() const { return all_added_; }
    std::uint32_t added_token(std::string_view text) const;

    /// The bytes of a token, or the text of an added one; nullptr for an id that is none.
    const std::string* bytes_of(std::uint64_t id) const;

  private:
    BpeDefinition definition_;
    MergeTable merges_;
    bool in_order_ = true;
    SplitterFactory splitters_;
    std::array<std::uint32_t, 256> byte_tokens_{};
    std::unordered_map<std::string_view, std::uint32_t> whole_;
    std::unordered_map<std::string_view, std::uint32_t> added_;
    std::unordered_map<std::uint32_t, const std::string*> added_texts_;
    std::optional<Regex> ordinary_added_;
    std::optional<Regex> special_added_;
    std::optional<Regex> all_added_;
};

}  // namespace kiban::data
