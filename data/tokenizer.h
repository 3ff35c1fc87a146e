// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back. `bytes`: ids 0-255 are the bytes, 256 ends a document; text that looks like a special
// token is ordinary bytes. Stateless and thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace kiban::data {

class Tokenizer {
  public:
    /// ConfigError for a tokenizer that is not there.
    static void check_name(const std::string& name);
    explicit Tokenizer(const std::string& name);

    const std::string& name() const { return name_; }
    std::uint32_t vocabulary() const { return 257; }
    std::uint16_t end_of_document() const { return 256; }

    /// Writes the ids of `text` to the front of `ids` (at least max_ids() of them) and returns how many.
    std::size_t encode(std::span<const std::byte> text, std::span<std::uint16_t> ids) const;
    static std::size_t max_ids(std::size_t text_bytes) { return text_bytes; }
    std::vector<std::uint16_t> encode(std::string_view text) const;
    /// The bytes of the ids; an end of document adds nothing. DataError for an id outside the vocabulary.
    std::string decode(std::span<const std::int64_t> ids) const;

  private:
    std::string name_;
};

}  // namespace kiban::data
