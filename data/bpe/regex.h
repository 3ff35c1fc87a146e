// SPDX-License-Identifier: Apache-2.0
// Regular expressions of tokenizers: PCRE2 with UTF, Unicode properties and its just-in-time compiler.
//
// `\s` is Unicode's White_Space, as in the libraries that tokenizer files are written for (PCRE2's own has U+180E too);
// `$` is the very end. A Regex is immutable and shared by threads; a Matcher belongs to one.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::data {

class Regex {
  public:
    /// ConfigError naming the pattern when it cannot be compiled or matches the empty text.
    explicit Regex(const std::string& pattern);
    /// Finds any of `words`, the longest first where several begin; bytes are compared. `words` is not empty.
    static Regex any_of(std::vector<std::string> words);

    const std::string& pattern() const { return pattern_; }

  private:
    friend class Matcher;
    Regex() = default;

    std::string pattern_;
    std::shared_ptr<void> code_;
};

class Matcher {
  public:
    explicit Matcher(const Regex& regex);

    struct Match {
        std::size_t begin = 0;
        std::size_t end = 0;
    };
    /// The first match at or after `from`. `text` must be well-formed UTF-8 (not for any_of()). DataError when the
    /// search takes more steps than PCRE2 allows.
    std::optional<Match> find(std::string_view text, std::size_t from);

  private:
    std::string pattern_;
    std::shared_ptr<void> code_;
    std::shared_ptr<void> context_;
    std::shared_ptr<void> stack_;
    std::shared_ptr<void> data_;
};

}  // namespace kiban::data
