// SPDX-License-Identifier: Apache-2.0
// What names a document: a hash of its text alone, so it is the same in any file, order, compression and work unit.
//
// Text of at most one leaf (64 KiB): its XXH3-128. Longer: the XXH3-128 of its leaves' XXH3-128s in order, so that the
// ranges of a large file can be hashed apart. Bytes are in XXH3's canonical (big-endian) order.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kiban::data {

inline constexpr std::uint64_t kLeafBytes = 64u << 10;

using DocumentId = std::array<std::byte, 16>;

class DocumentHash {
  public:
    DocumentHash();
    ~DocumentHash();
    void update(std::span<const std::byte> text);
    /// The leaves since the last call (the last one may be short) and starts anew.
    std::vector<DocumentId> take_leaves();

  private:
    struct State;
    void close_leaf();

    std::unique_ptr<State> state_;
    std::uint64_t leaf_bytes_ = 0;
    std::vector<DocumentId> leaves_;
};

/// `leaves` of the whole text, at least one.
DocumentId document_id(std::span<const DocumentId> leaves);
DocumentId document_id_of(std::string_view text);

std::string to_hex(std::span<const DocumentId> ids);
/// InternalError when the text is not whole ids in hex.
std::vector<DocumentId> ids_from_hex(std::string_view hex);

/// A uniform 64-bit value of the identity under a fixed key: below fraction * 2^64 the document is held out.
std::uint64_t holdout_draw(const DocumentId& id);

}  // namespace kiban::data
