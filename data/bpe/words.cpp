// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/words.h"

#include <xxhash.h>

#include <algorithm>
#include <numeric>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::size_t kFirstSlots = 1u << 16;

}  // namespace

WordTable::WordTable() : slots_(kFirstSlots) {}

void WordTable::add(std::string_view piece, std::uint64_t times) {
    for (; piece.size() > kWordBytes; piece.remove_prefix(kWordBytes)) add_part(piece.substr(0, kWordBytes), times);
    if (!piece.empty()) add_part(piece, times);
}

void WordTable::add_part(std::string_view part, std::uint64_t times) {
    const auto hash = static_cast<std::uint32_t>(XXH3_64bits(part.data(), part.size()));
    const std::size_t mask = slots_.size() - 1;
    std::size_t slot = hash & mask;
    for (; slots_[slot] != 0; slot = (slot + 1) & mask) {
        Word& word = words_[slots_[slot] - 1];
        if (word.hash == hash && text_of(word) == part) {
            word.count += times;
            return;
        }
    }
    words_.push_back({text_.size(), static_cast<std::uint32_t>(part.size()), hash, times});
    text_ += part;
    slots_[slot] = static_cast<std::uint32_t>(words_.size());
    if (2 * words_.size() > slots_.size()) grow();
}

void WordTable::clear() {
    text_.clear();
    words_.clear();
    std::ranges::fill(slots_, 0u);
}

void WordTable::grow() {
    slots_.assign(2 * slots_.size(), 0);
    const std::size_t mask = slots_.size() - 1;
    for (std::size_t i = 0; i < words_.size(); ++i) {
        std::size_t slot = words_[i].hash & mask;
        while (slots_[slot] != 0) slot = (slot + 1) & mask;
        slots_[slot] = static_cast<std::uint32_t>(i + 1);
    }
}

void WordTable::for_each_sorted(const std::function<void(std::string_view, std::uint64_t)>& visit) const {
    std::vector<std::uint32_t> order(words_.size());
    std::iota(order.begin(), order.end(), 0u);
    std::ranges::sort(order, {}, [&](std::uint32_t index) { return text_of(words_[index]); });
    for (const std::uint32_t index : order) visit(text_of(words_[index]), words_[index].count);
}

void WordList::add(std::string_view word, std::uint64_t count) {
    text += word;
    bytes.push_back(static_cast<std::uint32_t>(word.size()));
    counts.push_back(count);
}

}  // namespace kiban::data
