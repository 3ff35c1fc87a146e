// SPDX-License-Identifier: Apache-2.0
#include "data/digest.h"

#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <vector>

#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

constexpr std::size_t kReadBytes = 1u << 20;

void openssl_check(int code, const char* operation) {
    KIBAN_CHECK(code == 1, "OpenSSL cannot {} a SHA-256", operation);
}

}  // namespace

struct Sha256::Impl {
    EVP_MD_CTX* context = EVP_MD_CTX_new();

    Impl() = default;
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;
    ~Impl() { EVP_MD_CTX_free(context); }
};

Sha256::Sha256() : impl_(std::make_unique<Impl>()) {
    KIBAN_CHECK(impl_->context != nullptr, "out of memory");
    openssl_check(EVP_DigestInit_ex(impl_->context, EVP_sha256(), nullptr), "start");
}

Sha256::~Sha256() = default;

void Sha256::update(std::span<const std::byte> bytes) {
    openssl_check(EVP_DigestUpdate(impl_->context, bytes.data(), bytes.size()), "feed");
}

void Sha256::update(std::string_view text) { update(std::as_bytes(std::span(text))); }

std::string Sha256::finish() {
    std::array<unsigned char, 32> digest{};
    openssl_check(EVP_DigestFinal_ex(impl_->context, digest.data(), nullptr), "finish");
    return fmt::format("{:02x}", fmt::join(digest, ""));
}

std::string sha256(std::string_view text) {
    Sha256 hash;
    hash.update(text);
    return hash.finish();
}

std::string sha256_of_file(const std::filesystem::path& file) {
    const auto input = monitoring::File::open_read(file);
    const std::uint64_t size = input.size();
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min<std::uint64_t>(size, kReadBytes)));
    Sha256 hash;
    for (std::uint64_t offset = 0; offset < size; offset += buffer.size()) {
        const auto part =
            std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), size - offset)));
        input.read_at(offset, part);
        hash.update(part);
    }
    return hash.finish();
}

}  // namespace kiban::data
