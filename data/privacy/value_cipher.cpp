// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/value_cipher.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <filesystem>
#include <memory>

#include "data/digest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using Code = std::array<unsigned char, 32>;

constexpr std::size_t kLeastKeyBytes = 32;
constexpr std::size_t kNonceBytes = 12;
constexpr std::size_t kTagBytes = 16;
constexpr int kMostPasses = 8;  // as many as the anonymiser makes

const unsigned char* bytes_of(std::string_view text) { return reinterpret_cast<const unsigned char*>(text.data()); }
unsigned char* bytes_of(std::string& text) { return reinterpret_cast<unsigned char*>(text.data()); }

template <typename Key>
Code hmac(const Key& key, std::string_view message) {
    Code code{};
    unsigned bytes = 0;
    const auto* made = HMAC(EVP_sha256(), key.data(), static_cast<int>(key.size()), bytes_of(message), message.size(),
                            code.data(), &bytes);
    KIBAN_CHECK(made != nullptr && bytes == code.size(), "HMAC-SHA-256 gives {} bytes", bytes);
    return code;
}

// What is authenticated beside the value.
std::string header_of(Kind kind) { return fmt::format("kiban value 1\n{}", name_of(kind)); }

struct Freed {
    void operator()(EVP_CIPHER_CTX* context) const { EVP_CIPHER_CTX_free(context); }
};
using Context = std::unique_ptr<EVP_CIPHER_CTX, Freed>;

std::optional<std::string> bytes_of_letters(std::string_view letters) {
    const bool are_all = std::ranges::all_of(letters, [](char letter) { return letter >= 'a' && letter <= 'p'; });
    if (letters.size() % 2 != 0 || !are_all) return std::nullopt;
    std::string bytes;
    for (std::size_t i = 0; i < letters.size(); i += 2)
        bytes.push_back(static_cast<char>((letters[i] - 'a') * 16 + (letters[i + 1] - 'a')));
    return bytes;
}

struct Place {  // of an encrypted value in a text: "<TAG=letters>"
    std::size_t begin = 0;
    std::size_t end = 0;
    Kind kind = Kind::secret;
    std::string_view letters;
};

std::optional<Place> place_at(std::string_view text, std::size_t at) {
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
        const std::string_view tag = kKindTags[kind];
        if (text.substr(at + 1, tag.size()) != tag) continue;
        const std::size_t equals = at + 1 + tag.size();
        if (equals >= text.size() || text[equals] != '=') continue;
        const std::size_t end = std::min(text.find_first_not_of("abcdefghijklmnop", equals + 1), text.size());
        if (end < text.size() && text[end] == '>' && end > equals + 1)
            return Place{at, end + 1, static_cast<Kind>(kind), text.substr(equals + 1, end - equals - 1)};
    }
    return std::nullopt;
}

// One pass. False when nothing was readable.
bool reveal_once(const ValueCipher& cipher, Revealed& revealed) {
    const std::string_view text = revealed.text;
    std::string out;
    std::size_t kept = 0;
    bool found = false;
    revealed.foreign = 0;
    for (std::size_t at = text.find('<'); at != std::string_view::npos; at = text.find('<', at + 1)) {
        const auto place = place_at(text, at);
        if (!place) continue;
        const auto value = cipher.decrypt(place->kind, place->letters);
        if (!value) {
            ++revealed.foreign;
            continue;
        }
        out.append(text, kept, place->begin - kept);
        out += *value;
        kept = place->end;
        ++revealed.values;
        found = true;
    }
    out.append(text, kept);
    revealed.text = std::move(out);
    return found;
}

}  // namespace

ValueCipher::ValueCipher(std::string_view key)
    : encryption_key_(hmac(key, "kiban value 1 encryption")), nonce_key_(hmac(key, "kiban value 1 nonce")) {}

std::string ValueCipher::encrypt(Kind kind, std::string_view value) const {
    const std::string header = header_of(kind);
    const Code nonce = hmac(nonce_key_, fmt::format("{}\n{}", header, value));
    std::string sealed(nonce.begin(), nonce.begin() + kNonceBytes);
    sealed.resize(kNonceBytes + value.size() + kTagBytes);
    const Context context(EVP_CIPHER_CTX_new());
    int bytes = 0;
    const bool made =
        context &&
        EVP_EncryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, encryption_key_.data(), nonce.data()) == 1 &&
        EVP_EncryptUpdate(context.get(), nullptr, &bytes, bytes_of(header), static_cast<int>(header.size())) == 1 &&
        EVP_EncryptUpdate(context.get(), bytes_of(sealed) + kNonceBytes, &bytes, bytes_of(value),
                          static_cast<int>(value.size())) == 1 &&
        EVP_EncryptFinal_ex(context.get(), bytes_of(sealed) + kNonceBytes + value.size(), &bytes) == 1 &&
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_GET_TAG, kTagBytes,
                            bytes_of(sealed) + kNonceBytes + value.size()) == 1;
    KIBAN_CHECK(made, "AES-256-GCM does not encrypt {} bytes", value.size());
    return fmt::format("<{}={}>", kKindTags[static_cast<std::size_t>(kind)], letters_of(sealed));
}

std::optional<std::string> ValueCipher::decrypt(Kind kind, std::string_view letters) const {
    auto sealed = bytes_of_letters(letters);
    if (!sealed || sealed->size() < kNonceBytes + kTagBytes) return std::nullopt;
    const std::string header = header_of(kind);
    const std::size_t value_bytes = sealed->size() - kNonceBytes - kTagBytes;
    std::string value(value_bytes, '\0');
    const Context context(EVP_CIPHER_CTX_new());
    KIBAN_CHECK(context != nullptr, "out of memory");
    int bytes = 0;
    unsigned char* const at = bytes_of(*sealed);
    const bool read =
        EVP_DecryptInit_ex(context.get(), EVP_aes_256_gcm(), nullptr, encryption_key_.data(), at) == 1 &&
        EVP_DecryptUpdate(context.get(), nullptr, &bytes, bytes_of(header), static_cast<int>(header.size())) == 1 &&
        EVP_DecryptUpdate(context.get(), bytes_of(value), &bytes, at + kNonceBytes, static_cast<int>(value_bytes)) ==
            1 &&
        EVP_CIPHER_CTX_ctrl(context.get(), EVP_CTRL_GCM_SET_TAG, kTagBytes, at + kNonceBytes + value_bytes) == 1 &&
        EVP_DecryptFinal_ex(context.get(), bytes_of(value) + value_bytes, &bytes) == 1;
    if (!read) return std::nullopt;
    return value;
}

Revealed reveal(const ValueCipher& cipher, std::string text) {
    Revealed revealed{std::move(text), 0, 0};
    for (int pass = 0; pass < kMostPasses && reveal_once(cipher, revealed); ++pass) continue;
    return revealed;
}

std::string letters_of(std::string_view bytes) {
    std::string text;
    for (const char byte : bytes) {
        text.push_back(static_cast<char>('a' + static_cast<unsigned char>(byte) / 16));
        text.push_back(static_cast<char>('a' + static_cast<unsigned char>(byte) % 16));
    }
    return text;
}

std::string read_key(const std::string& file, bool tight) {
    using std::filesystem::perms;
    std::string key = monitoring::read_text(file);
    if (key.size() < kLeastKeyBytes)
        throw ConfigError("the key '{}' has {} bytes, expected at least {}", file, key.size(), kLeastKeyBytes);
    const perms others = std::filesystem::status(file).permissions() & (perms::group_all | perms::others_all);
    if (tight && others != perms::none) {
        throw ConfigError(
            "the key '{}' can undo what it encrypts, but not only its owner may use it (mode {:o}): chmod 600 '{}'",
            file, static_cast<unsigned>(std::filesystem::status(file).permissions()), file);
    }
    return key;
}

std::string key_id(const std::string& key) { return sha256("kiban key id 1\n" + sha256(key)).substr(0, 16); }

}  // namespace kiban::data
