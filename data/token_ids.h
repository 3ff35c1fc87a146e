// SPDX-License-Identifier: Apache-2.0
// Token ids as files hold them: 2 bytes each where the whole vocabulary fits into them, else 4; little-endian, at any
// alignment.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "monitoring/error.h"

namespace kiban::data {

/// Bytes of an id in a file.
constexpr std::uint32_t id_bytes(std::uint32_t vocabulary) { return vocabulary <= 65536 ? 2 : 4; }

namespace detail {

template <typename Stored, typename Id>
void load(const std::byte* stored, std::span<Id> ids) {
    for (std::size_t i = 0; i < ids.size(); ++i) {
        Stored id = 0;
        std::memcpy(&id, stored + i * sizeof(Stored), sizeof(Stored));
        ids[i] = id;
    }
}

template <typename Stored>
std::uint32_t largest(std::span<const std::byte> stored) {  // a plain loop: it becomes vector instructions
    Stored most = 0;
    for (std::size_t i = 0; i < stored.size() / sizeof(Stored); ++i) {
        Stored id = 0;
        std::memcpy(&id, stored.data() + i * sizeof(Stored), sizeof(Stored));
        most = std::max(most, id);
    }
    return most;
}

}  // namespace detail

template <typename Id>
void load_ids(const std::byte* stored, std::uint32_t bytes_each, std::span<Id> ids) {
    if (bytes_each == 2) return detail::load<std::uint16_t>(stored, ids);
    detail::load<std::uint32_t>(stored, ids);
}

/// `stored` has room for them. InternalError for an id that does not fit: it never wraps.
inline void store_ids(std::span<const std::uint32_t> ids, std::uint32_t bytes_each, std::byte* stored) {
    if (bytes_each == 4) {
        std::memcpy(stored, ids.data(), ids.size_bytes());
        return;
    }
    std::uint32_t all = 0;
    for (std::size_t i = 0; i < ids.size(); ++i) {
        const auto id = static_cast<std::uint16_t>(ids[i]);
        std::memcpy(stored + i * sizeof(id), &id, sizeof(id));
        all |= ids[i];
    }
    KIBAN_CHECK(all < 65536, "a token id of more than 16 bits in 2 bytes");
}

inline std::uint32_t largest_id(std::span<const std::byte> stored, std::uint32_t bytes_each) {
    return bytes_each == 2 ? detail::largest<std::uint16_t>(stored) : detail::largest<std::uint32_t>(stored);
}

}  // namespace kiban::data
