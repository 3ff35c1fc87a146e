// SPDX-License-Identifier: Apache-2.0
// Texts of any length in segments of bounded size that encode to the same tokens as the whole.
//
// For the patterns with scanners (data/bpe/splitter.h) a piece always ends after a line feed that something other than
// white space follows, and before a blank that stands between a printable ASCII character and an ASCII letter: a
// segment ends at the last such place in its first MiB, else at the last start of a character. For other patterns this
// is the definition of how texts of more than a segment are encoded. It does not depend on the parts in which a text
// comes.
#pragma once

#include <cstddef>
#include <functional>
#include <span>
#include <string>
#include <string_view>

namespace kiban::data {

inline constexpr std::size_t kSegmentBytes = 1u << 20;  // also the most that one piece can have
inline constexpr std::size_t kContextBytes = 16;        // of what follows a segment that its pieces may look at

class Segmenter {
  public:
    /// Takes the segment text[0, stop); what comes after it is context.
    using Take = std::function<void(std::string_view text, std::size_t stop)>;

    void add(std::span<const std::byte> text, const Take& take);
    /// The text is complete.
    void end(const Take& take);

  private:
    std::string pending_;  // waits for what follows it
};

}  // namespace kiban::data
