// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/train.h"

#include <algorithm>
#include <queue>
#include <unordered_map>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::int64_t kLeastCount = 2;

struct Pair {
    std::uint64_t key = 0;  // left << 32 | right
    std::int64_t count = 0;
    std::vector<std::uint32_t> words;  // in which it occurs or has occurred
    bool risen = false;                // since the last merge
};

struct Candidate {
    std::int64_t count = 0;
    std::uint64_t key = 0;
    std::uint32_t pair = 0;

    bool operator<(const Candidate& other) const {
        return count != other.count ? count < other.count : key > other.key;
    }
};

std::uint64_t key_of(std::uint32_t left, std::uint32_t right) { return std::uint64_t{left} << 32 | right; }

class Pairs {  // open addressing, at most half full
  public:
    Pairs() : slots_(1u << 17) {}

    std::uint32_t index_of(std::uint64_t key) {
        const std::size_t mask = slots_.size() - 1;
        std::size_t slot = hash(key) & mask;
        for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
            if (pairs_[slots_[slot] - 1].key == key) return slots_[slot] - 1;
        }
        pairs_.push_back({key, 0, {}, false});
        slots_[slot] = static_cast<std::uint32_t>(pairs_.size());
        if (2 * pairs_.size() > slots_.size()) grow();
        return static_cast<std::uint32_t>(pairs_.size() - 1);
    }

    Pair& operator[](std::uint32_t index) { return pairs_[index]; }
    std::uint32_t size() const { return static_cast<std::uint32_t>(pairs_.size()); }

  private:
    static std::size_t hash(std::uint64_t key) {
        key *= 0x9E3779B97F4A7C15u;
        return static_cast<std::size_t>(key ^ key >> 32);
    }

    void grow() {
        slots_.assign(2 * slots_.size(), 0);
        for (std::size_t i = 0; i < pairs_.size(); ++i) {
            std::size_t slot = hash(pairs_[i].key) & (slots_.size() - 1);
            while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
            slots_[slot] = static_cast<std::uint32_t>(i + 1);
        }
    }

    std::vector<Pair> pairs_;
    std::vector<std::uint32_t> slots_;  // index + 1; 0: free
};

class Training {
  public:
    explicit Training(const WordList& words) : counts_(words.counts) {
        KIBAN_CHECK(words.size() < 0xFFFFFFFFu, "{} words", words.size());
        symbols_.reserve(words.text.size());
        for (const char byte : words.text) symbols_.push_back(static_cast<unsigned char>(byte));
        std::uint64_t first = 0;
        for (std::uint32_t word = 0; word < words.size(); ++word) {
            first_.push_back(first);
            lengths_.push_back(words.bytes[word]);
            for (std::uint32_t i = 0; i + 1 < lengths_[word]; ++i) {
                add(symbols_[first + i], symbols_[first + i + 1], word);
            }
            first += words.bytes[word];
        }
        offer_risen();
        for (std::uint32_t byte = 0; byte < 256; ++byte) learn(std::string(1, static_cast<char>(byte)));
    }

    /// Merges until there are so many tokens; how many there are then.
    std::size_t run(std::size_t most_tokens) {
        while (tokens_.size() < most_tokens) {
            if (candidates_.empty()) break;
            const Candidate best = candidates_.top();
            candidates_.pop();
            const std::int64_t count = pairs_[best.pair].count;
            if (count == best.count) {
                merge(best);
            } else if (count >= kLeastCount && count < best.count) {
                candidates_.push({count, best.key, best.pair});  // it has fallen; when it rises it is offered again
            }
        }
        return tokens_.size();
    }

    std::vector<std::string> take_tokens() { return std::move(tokens_); }
    std::vector<std::pair<std::uint32_t, std::uint32_t>> take_merges() { return std::move(merges_); }

  private:
    std::uint32_t learn(const std::string& token) {
        const auto [entry, is_new] = ids_.emplace(token, static_cast<std::uint32_t>(tokens_.size()));
        if (is_new) tokens_.push_back(token);
        return entry->second;
    }

    void add(std::uint32_t left, std::uint32_t right, std::uint32_t word) {
        const std::uint32_t index = pairs_.index_of(key_of(left, right));
        Pair& pair = pairs_[index];
        pair.count += static_cast<std::int64_t>(counts_[word]);
        if (pair.words.empty() || pair.words.back() != word) pair.words.push_back(word);
        if (!pair.risen) risen_.push_back(index);
        pair.risen = true;
    }

    void remove(std::uint32_t left, std::uint32_t right, std::uint32_t word) {
        pairs_[pairs_.index_of(key_of(left, right))].count -= static_cast<std::int64_t>(counts_[word]);
    }

    void offer_risen() {
        for (const std::uint32_t index : risen_) {
            Pair& pair = pairs_[index];
            pair.risen = false;
            if (pair.count >= kLeastCount) candidates_.push({pair.count, pair.key, index});
        }
        risen_.clear();
    }

    void merge(const Candidate& best) {
        const auto left = static_cast<std::uint32_t>(best.key >> 32);
        const auto right = static_cast<std::uint32_t>(best.key);
        const std::uint32_t merged = learn(tokens_[left] + tokens_[right]);
        merges_.emplace_back(left, right);
        std::vector<std::uint32_t> words;
        words.swap(pairs_[best.pair].words);
        for (const std::uint32_t word : words) merge_in(word, left, right, merged);
        KIBAN_CHECK(pairs_[best.pair].count == 0, "{} of a merged pair are left", pairs_[best.pair].count);
        offer_risen();
    }

    void merge_in(std::uint32_t word, std::uint32_t left, std::uint32_t right, std::uint32_t merged) {
        std::uint32_t* symbols = symbols_.data() + first_[word];
        const std::uint32_t length = lengths_[word];
        std::uint32_t made = 0;
        for (std::uint32_t i = 0; i < length;) {
            if (i + 1 == length || symbols[i] != left || symbols[i + 1] != right) {
                symbols[made++] = symbols[i++];
                continue;
            }
            remove(left, right, word);
            if (made > 0) {
                remove(symbols[made - 1], left, word);
                add(symbols[made - 1], merged, word);
            }
            if (i + 2 < length) {
                remove(right, symbols[i + 2], word);
                add(merged, symbols[i + 2], word);
            }
            symbols[made++] = merged;
            i += 2;
        }
        lengths_[word] = made;
    }

    const std::vector<std::uint64_t>& counts_;
    std::vector<std::uint32_t> symbols_;  // of all words; a word's first lengths_ ones count
    std::vector<std::uint64_t> first_;
    std::vector<std::uint32_t> lengths_;
    Pairs pairs_;
    std::vector<std::uint32_t> risen_;
    std::priority_queue<Candidate> candidates_;
    std::vector<std::string> tokens_;
    std::unordered_map<std::string, std::uint32_t> ids_;
    std::vector<std::pair<std::uint32_t, std::uint32_t>> merges_;
};

}  // namespace

BpeDefinition train_bpe(const WordList& words, std::uint32_t vocabulary, const std::string& pattern,
                        const std::string& end) {
    KIBAN_CHECK(vocabulary > 256, "a vocabulary of {}", vocabulary);
    Training training(words);
    const std::size_t tokens = training.run(vocabulary - 1);
    if (tokens < vocabulary - 1) {
        throw DataError(
            "cannot train a tokenizer of {} tokens: the text has pairs that occur more than once for {} only; ask for "
            "at "
            "most bpe:{}, or give more text",
            vocabulary, tokens + 1, tokens + 1);
    }
    BpeDefinition definition;
    definition.tokens = training.take_tokens();
    definition.merges = training.take_merges();
    definition.tokens.emplace_back();
    definition.added.push_back({vocabulary - 1, end, true});
    definition.patterns.push_back(pattern);
    return definition;
}

}  // namespace kiban::data
