// SPDX-License-Identifier: Apache-2.0
// SHA-256 (FIPS 180-4, by OpenSSL) as lower-case hex.
#pragma once

#include <cstddef>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>

namespace kiban::data {

class Sha256 {
  public:
    Sha256();
    ~Sha256();
    void update(std::span<const std::byte> bytes);
    void update(std::string_view text);
    std::string finish();  // 64 hex digits; call once

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

std::string sha256(std::string_view text);
std::string sha256_of_file(const std::filesystem::path& file);  // IoError when unreadable

}  // namespace kiban::data
