// SPDX-License-Identifier: Apache-2.0
// Text to pre-tokens ("pieces"): the parts that byte-pair merges never cross.
//
// Any list of patterns works through regular expressions (the generic path); the patterns of GPT-2, cl100k, Llama 3 and
// Qwen 2 are recognised by their text and have scanners that give the same pieces faster. Both see an ill-formed byte
// as U+FFFD. A Splitter belongs to one thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "data/bpe/regex.h"

namespace kiban::data {

extern const char* const kGpt2Pattern;
extern const char* const kLlama3Pattern;  // that of cl100k too
extern const char* const kQwen2Pattern;
// The same grammars as tiktoken writes them since 2024; cl100k's then takes white space at the very end as one piece.
extern const char* const kGpt2PossessivePattern;
extern const char* const kCl100kPossessivePattern;

class Splitter {
  public:
    virtual ~Splitter() = default;
    /// `text` (at most 4 GiB) must stay until the next begin().
    virtual void begin(std::string_view text) = 0;
    /// Where the next pieces end, each where the one after it starts; the last is text.size(). How many; 0 when none is
    /// left.
    virtual std::size_t next(std::span<std::uint32_t> ends) = 0;
};

/// What splits text: compiled once, shared by threads.
class SplitterFactory {
  public:
    /// `patterns` in order: each cuts the pieces of the one before. None: the text is one piece. ConfigError for one
    /// that cannot be compiled.
    explicit SplitterFactory(const std::vector<std::string>& patterns);

    std::unique_ptr<Splitter> make() const;
    std::unique_ptr<Splitter> make_generic() const;
    bool has_scanner() const { return scanner_ != nullptr; }

  private:
    using MakeScanner = std::unique_ptr<Splitter> (*)();

    std::vector<Regex> regexes_;
    MakeScanner scanner_ = nullptr;
};

/// A scanner for the pattern, nullptr when it is not one of those above.
std::unique_ptr<Splitter> (*scanner_for(std::string_view pattern))();

}  // namespace kiban::data
