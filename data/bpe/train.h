// SPDX-License-Identifier: Apache-2.0
// BPE training (Sennrich, Haddow, Birch 2016, algorithm 1): the pair of tokens that occurs most often becomes a token.
//
// Of pairs with equal counts the one with the smaller left, then smaller right token goes first, so the result is a
// function of the words' counts alone: not of their order, nor of how many workers counted them.
#pragma once

#include <cstdint>

#include "data/bpe/definition.h"
#include "data/bpe/words.h"

namespace kiban::data {

inline constexpr std::uint64_t kTrainingBytes = 2u << 30;  // that the words of a training may take (training_bytes())

/// Ids 0-255 are the bytes, then one token a merge, in order; the last is the special token `end`. Pairs that occur
/// once are not merged. DataError when the words do not yield `vocabulary` tokens, saying how many they do.
BpeDefinition train_bpe(const WordList& words, std::uint32_t vocabulary, const std::string& pattern,
                        const std::string& end);

}  // namespace kiban::data
