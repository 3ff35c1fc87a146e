// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer.h"

#include <algorithm>

#include "monitoring/error.h"

namespace kiban::data {

void Tokenizer::check_name(const std::string& name) {
    if (name == "bytes") return;
    if (name.starts_with("bpe:") || name.ends_with(".json")) {
        throw ConfigError("data.tokenizer '{}' is not available yet: expected 'bytes', the one that is", name);
    }
    throw ConfigError("data.tokenizer '{}' is unknown: did you mean 'bytes'?", name);
}

Tokenizer::Tokenizer(const std::string& name) : name_(name) { check_name(name); }

std::size_t Tokenizer::encode(std::span<const std::byte> text, std::span<std::uint16_t> ids) const {
    KIBAN_CHECK(ids.size() >= max_ids(text.size()), "{} ids for {} bytes", ids.size(), text.size());
    std::transform(text.begin(), text.end(), ids.begin(),
                   [](std::byte byte) { return std::to_integer<std::uint16_t>(byte); });
    return text.size();
}

std::vector<std::uint16_t> Tokenizer::encode(std::string_view text) const {
    std::vector<std::uint16_t> ids(max_ids(text.size()));
    ids.resize(encode(std::as_bytes(std::span(text)), std::span(ids)));
    return ids;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids) const {
    std::string text;
    text.reserve(ids.size());
    for (const std::int64_t id : ids) {
        if (id < 0 || id >= std::int64_t{vocabulary()}) {
            throw DataError("cannot decode token {}: expected 0 to {}", id, vocabulary() - 1);
        }
        if (id != end_of_document()) text.push_back(static_cast<char>(id));
    }
    return text;
}

}  // namespace kiban::data
