// SPDX-License-Identifier: Apache-2.0
// What the tests of tokenizers hold against the code: textbook algorithms in the slowest form, and random text.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "data/bpe/definition.h"
#include "data/bpe/words.h"

namespace kiban::data {

/// Merges of one piece by the definition: look through all pairs for the strongest merge, the leftmost first; again.
std::vector<std::uint32_t> reference_merge(const BpeDefinition& definition, const std::string& piece);

/// Merges in the order of training by the definition: count all pairs of all words anew for each.
std::vector<std::pair<std::string, std::string>> reference_training(const WordList& words, std::size_t merges);

/// Characters of all kinds that tokenizers tell apart: letters of several scripts, numbers, marks, symbols, white
/// space, quotes and what makes contractions, unassigned code points; one in `bad_one_in` is an ill-formed byte (0:
/// none).
std::string random_text(std::mt19937_64& random, std::size_t characters, unsigned bad_one_in);

/// Mostly ASCII, in runs of one kind, long enough to be looked at in blocks; one run in `wide_one_in` is another
/// character.
std::string random_ascii(std::mt19937_64& random, std::size_t bytes, unsigned wide_one_in);

/// 256 bytes, then merges of random neighbours; `end` last.
BpeDefinition random_definition(std::mt19937_64& random, std::size_t merges, const std::string& pattern);

}  // namespace kiban::data
