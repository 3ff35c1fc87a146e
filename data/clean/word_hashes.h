// SPDX-License-Identifier: Apache-2.0
// A text as a sequence of words, for comparing texts: near duplicates and overlaps with evaluation files.
//
// A word is a run of letters and digits, ASCII's in small letters; of scripts without spaces (from U+2E80 on: Chinese,
// Japanese, Korean) each character is one. White space, signs, and what is no UTF-8 stand between words. A pure
// function of the text.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace kiban::data {

/// XXH3-64 of each word's bytes, in order.
std::vector<std::uint64_t> word_hashes(std::string_view text);

/// XXH3-64 of `length` hashes of words that follow each other.
std::uint64_t run_hash(std::span<const std::uint64_t> words);

/// Whether the character that begins at `at` is a letter or digit of a script that puts spaces between words.
bool joins_words(std::string_view text, std::size_t at);

}  // namespace kiban::data
