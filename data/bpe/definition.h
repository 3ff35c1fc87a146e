// SPDX-License-Identifier: Apache-2.0
// A byte-level BPE tokenizer as data: what a tokenizer.json of this kind says.
//
// Read and written in the ecosystem's format (tokenizers, version "1.0"). What this program would encode differently is
// refused by name rather than approximated: data/README.md lists it.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace kiban::data {

struct AddedToken {
    std::uint32_t id = 0;
    std::string text;
    bool special = false;  // never made from text; an ordinary one is cut out of text before anything else
};

struct BpeDefinition {
    std::vector<std::string> tokens;  // bytes by id; empty where there is no such token, or an added one
    std::vector<std::pair<std::uint32_t, std::uint32_t>> merges;  // left and right token, the strongest merge first
    std::vector<AddedToken> added;
    std::vector<std::string> patterns;  // pre-token patterns in order (data/bpe/splitter.h)
    bool ignore_merges = false;         // a piece that is a token is that token, whatever the merges say

    /// One more than the largest id.
    std::uint32_t vocabulary() const { return static_cast<std::uint32_t>(tokens.size()); }
};

/// `where` names the file in errors. DataError: not such a file, or one that contradicts itself; ConfigError: a
/// component that is not supported.
BpeDefinition parse_tokenizer_json(std::string_view text, const std::string& where);
std::string to_tokenizer_json(const BpeDefinition& definition);

/// The printable stand-ins that tokenizer.json writes for bytes, in UTF-8.
std::string to_byte_level(std::string_view bytes);
/// False when `text` has a character that stands for no byte.
bool from_byte_level(std::string_view text, std::string& bytes);

}  // namespace kiban::data
