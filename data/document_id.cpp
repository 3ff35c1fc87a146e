// SPDX-License-Identifier: Apache-2.0
#include "data/document_id.h"

#include <xxhash.h>

#include <algorithm>
#include <charconv>
#include <cstring>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::uint64_t kHoldoutKey = 0x6b6962616e686f6cULL;  // "kibanhol": fixed, so that the split never moves

DocumentId canonical(XXH128_hash_t hash) {
    XXH128_canonical_t bytes;
    XXH128_canonicalFromHash(&bytes, hash);
    DocumentId id;
    std::memcpy(id.data(), bytes.digest, id.size());
    return id;
}

}  // namespace

struct DocumentHash::State {
    XXH3_state_t* xxh3 = XXH3_createState();

    State() = default;
    State(const State&) = delete;
    State& operator=(const State&) = delete;
    ~State() { XXH3_freeState(xxh3); }
};

DocumentHash::DocumentHash() : state_(std::make_unique<State>()) {
    KIBAN_CHECK(state_->xxh3 != nullptr, "out of memory");
    XXH3_128bits_reset(state_->xxh3);
}

DocumentHash::~DocumentHash() = default;

void DocumentHash::update(std::span<const std::byte> text) {
    while (!text.empty()) {
        const auto part =
            text.first(static_cast<std::size_t>(std::min<std::uint64_t>(text.size(), kLeafBytes - leaf_bytes_)));
        XXH3_128bits_update(state_->xxh3, part.data(), part.size());
        leaf_bytes_ += part.size();
        text = text.subspan(part.size());
        if (leaf_bytes_ == kLeafBytes) close_leaf();
    }
}

void DocumentHash::close_leaf() {
    leaves_.push_back(canonical(XXH3_128bits_digest(state_->xxh3)));
    XXH3_128bits_reset(state_->xxh3);
    leaf_bytes_ = 0;
}

std::vector<DocumentId> DocumentHash::take_leaves() {
    if (leaf_bytes_ > 0 || leaves_.empty()) close_leaf();
    return std::exchange(leaves_, {});
}

DocumentId document_id(std::span<const DocumentId> leaves) {
    KIBAN_CHECK(!leaves.empty(), "a document without leaves");
    if (leaves.size() == 1) return leaves[0];
    return canonical(XXH3_128bits(leaves.data(), leaves.size_bytes()));
}

DocumentId document_id_of(std::string_view text) {
    DocumentHash hash;
    hash.update(std::as_bytes(std::span(text)));
    return document_id(hash.take_leaves());
}

std::string to_hex(std::span<const DocumentId> ids) {
    std::string hex;
    hex.reserve(ids.size() * 32);
    for (const DocumentId& id : ids) {
        for (const std::byte byte : id)
            fmt::format_to(std::back_inserter(hex), "{:02x}", std::to_integer<unsigned>(byte));
    }
    return hex;
}

std::vector<DocumentId> ids_from_hex(std::string_view hex) {
    KIBAN_CHECK(hex.size() % 32 == 0, "{} hex digits of document identities", hex.size());
    std::vector<DocumentId> ids(hex.size() / 32);
    for (std::size_t i = 0; i < hex.size() / 2; ++i) {
        unsigned value = 0;
        const auto [end, error] = std::from_chars(hex.data() + 2 * i, hex.data() + 2 * i + 2, value, 16);
        KIBAN_CHECK(error == std::errc() && end == hex.data() + 2 * i + 2, "'{}' in a document identity",
                    hex.substr(2 * i, 2));
        ids[i / 16][i % 16] = static_cast<std::byte>(value);
    }
    return ids;
}

std::uint64_t holdout_draw(const DocumentId& id) { return XXH3_64bits_withSeed(id.data(), id.size(), kHoldoutKey); }

}  // namespace kiban::data
