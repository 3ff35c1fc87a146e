// SPDX-License-Identifier: Apache-2.0
// The few characters of a text at which personal data can give itself away, 64 bytes at a time.
//
// Marked are: '@', ':', '_', '-', 'A', 'J', the byte 0xEF (full-width digits and signs begin with it), and of a group
// of ASCII digits the first one. A text's scan looks at no other place.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace kiban::data {

class Marks {
  public:
    explicit Marks(std::string_view text) : text_(text) {}

    /// The first marked place at or behind `at`; the text's size when there is none.
    std::size_t next(std::size_t at);

  private:
    void load(std::size_t block);

    std::string_view text_;
    std::size_t block_ = ~std::size_t{0};
    std::uint64_t marks_ = 0;  // of the block, its first byte in the lowest bit
};

}  // namespace kiban::data
