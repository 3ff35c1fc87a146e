// SPDX-License-Identifier: Apache-2.0
#include "monitoring/detect/state.h"

#include <bit>

#include "monitoring/crc32c.h"
#include "monitoring/error.h"

namespace kiban::monitoring::detect {
namespace {

static_assert(std::endian::native == std::endian::little, "states are little-endian and written without conversion");

constexpr std::string_view kMagic = "KIBANDET";
constexpr std::size_t kHeadBytes = 16;  // magic, version, bytes
constexpr std::size_t kTailBytes = 4;   // checksum

std::uint32_t crc_of(std::string_view text) { return crc32c(std::as_bytes(std::span(text))); }

std::uint32_t number_at(std::string_view text, std::size_t offset) {
    std::uint32_t value = 0;
    std::memcpy(&value, text.data() + offset, sizeof(value));
    return value;
}

void put(std::string& out, std::uint32_t value) {
    char raw[sizeof(value)];
    std::memcpy(raw, &value, sizeof(value));
    out.append(raw, sizeof(value));
}

}  // namespace

std::string seal_state(std::string_view state) {
    std::string out(kMagic);
    put(out, kStateVersion);
    put(out, static_cast<std::uint32_t>(state.size()));
    out += state;
    put(out, crc_of(out));
    return out;
}

std::string_view open_state(std::string_view sealed, std::size_t bytes) {
    if (sealed.size() < kHeadBytes + kTailBytes || !sealed.starts_with(kMagic)) {
        throw IoError("cannot read a detector's state of {} bytes: it does not begin with '{}'", sealed.size(), kMagic);
    }
    const std::uint32_t version = number_at(sealed, kMagic.size());
    if (version != kStateVersion) {
        throw IoError(
            "cannot read a detector's state: it has version {}, this kiban reads version {}; make it anew from the "
            "curve record",
            version, kStateVersion);
    }
    const std::uint32_t found = number_at(sealed, kMagic.size() + 4);
    if (found != bytes || sealed.size() != kHeadBytes + bytes + kTailBytes) {
        throw IoError("cannot read a detector's state: expected {} bytes of state, found {} in {}", bytes, found,
                      sealed.size());
    }
    if (number_at(sealed, kHeadBytes + bytes) != crc_of(sealed.substr(0, kHeadBytes + bytes))) {
        throw IoError(
            "a detector's state of {} bytes is damaged: its checksum does not match; make it anew from the "
            "curve record",
            bytes);
    }
    return sealed.substr(kHeadBytes, bytes);
}

}  // namespace kiban::monitoring::detect
