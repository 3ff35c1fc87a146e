// SPDX-License-Identifier: Apache-2.0
// Values that stand encrypted in a text, so that who holds the key can read them: "<EMAIL=" and letters and ">".
//
// AES-256-GCM (NIST SP 800-38D), the kind authenticated with the value. The nonce is an HMAC-SHA-256 of kind and value
// under a key of its own (a synthetic nonce, as in RFC 5297), so the same text gives the same bytes whoever makes them,
// and no nonce serves two values. What it gives away: that two values are equal, and how long one is. Both keys are
// derived from the one of the file. Immutable, thread-safe.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "data/privacy/kind.h"

namespace kiban::data {

class ValueCipher {
  public:
    explicit ValueCipher(std::string_view key);

    std::string encrypt(Kind kind, std::string_view value) const;
    /// nullopt for what this key did not make.
    std::optional<std::string> decrypt(Kind kind, std::string_view letters) const;

  private:
    std::array<unsigned char, 32> encryption_key_{};
    std::array<unsigned char, 32> nonce_key_{};
};

struct Revealed {
    std::string text;
    std::uint64_t values = 0;
    std::uint64_t foreign = 0;  // that look encrypted and were not made with this key: they stand as they did
};

/// `text` with its encrypted values readable; one within another, too.
Revealed reveal(const ValueCipher& cipher, std::string text);

/// Bytes as letters from a to p, two each: digits could look like another number.
std::string letters_of(std::string_view bytes);

/// The bytes of a key file. ConfigError for less than 32 bytes; with `tight` also when others than its owner may read
/// or write it.
std::string read_key(const std::string& file, bool tight);
/// The first 16 hex digits of a digest that names a key and does not give it away.
std::string key_id(const std::string& key);

}  // namespace kiban::data
