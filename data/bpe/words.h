// SPDX-License-Identifier: Apache-2.0
// How often each pre-token occurs: what BPE training learns from.
//
// Counted per work unit into a file sorted by word, so that any number of workers gives the same sums; files are merged
// as streams. A pre-token of more than kWordBytes counts as its parts of that size: nothing is left out. Counts are
// 64-bit.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/staging.h"

namespace kiban::data {

inline constexpr std::size_t kWordBytes = 256;

class WordTable {
  public:
    WordTable();
    /// A pre-token, cut into parts of at most kWordBytes.
    void add(std::string_view piece, std::uint64_t times = 1);
    std::size_t size() const { return words_.size(); }
    std::size_t memory_bytes() const {
        return text_.size() + words_.size() * (sizeof(Word) + 3 * sizeof(std::uint32_t));
    }
    void clear();

    /// In the order of the words' bytes.
    void for_each_sorted(const std::function<void(std::string_view, std::uint64_t)>& visit) const;

  private:
    struct Word {
        std::uint64_t first = 0;  // byte of text_
        std::uint32_t bytes = 0;
        std::uint32_t hash = 0;
        std::uint64_t count = 0;
    };

    std::string_view text_of(const Word& word) const { return std::string_view(text_).substr(word.first, word.bytes); }
    void add_part(std::string_view part, std::uint64_t times);
    void grow();

    std::string text_;
    std::vector<Word> words_;
    std::vector<std::uint32_t> slots_;  // index of a word + 1; 0: free
};

/// The words of one work unit, in bounded memory: what does not fit waits in files below `staging`.
class UnitWords {
  public:
    explicit UnitWords(std::filesystem::path staging, std::size_t most_bytes = 512u << 20);
    ~UnitWords();

    void add(std::string_view piece);
    /// As a staged file with the task's result (format: data/FORMAT.md). Once.
    void publish(const std::filesystem::path& name, const nlohmann::json& result);

  private:
    void spill();

    std::filesystem::path staging_;
    std::size_t most_bytes_;
    WordTable table_;
    std::vector<std::unique_ptr<Temporary>> spilled_;
};

/// The result of a staged file; nullopt when there is none, IoError when it is damaged.
std::optional<nlohmann::json> word_counts_result(const std::filesystem::path& name);

/// Words with their counts, as training takes them.
struct WordList {
    std::string text;  // all words after one another
    std::vector<std::uint32_t> bytes;
    std::vector<std::uint64_t> counts;

    void add(std::string_view word, std::uint64_t count);
    std::size_t size() const { return bytes.size(); }
};

struct MergedWords {
    WordList words;
    std::uint64_t least_count = 1;     // words that occur less often did not fit
    std::uint64_t left_out = 0;        // so many
    std::uint64_t left_out_bytes = 0;  // of text, each as often as it occurs
};

/// What a word of so many bytes costs a training.
constexpr std::uint64_t training_bytes(std::uint64_t word_bytes) { return 32 + 16 * word_bytes; }

/// The sum of files, without the rarest words when all do not fit into `most_bytes` of training_bytes(). Merges in
/// several rounds, through files below `staging`, when there are many. DataError when not even words that occur 2^20
/// times fit.
MergedWords merge_word_counts(std::vector<std::filesystem::path> files, const std::filesystem::path& staging,
                              std::uint64_t most_bytes);

}  // namespace kiban::data
