// SPDX-License-Identifier: Apache-2.0
// The bytes of curve.log (monitoring/FORMAT.md): entries to frames and back. Private to monitoring/curve.cpp and its
// tests.
//
// Pure functions of bytes; any thread. decode_record throws IoError naming `name` and the offset of the damage.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "monitoring/curve.h"

namespace kiban::monitoring {

constexpr std::uint32_t kCurveVersion = 2;

std::string encode_curve_header();
std::string encode_row(const CurveRow& row);
std::string encode_attempt(std::uint32_t attempt, std::uint64_t from_step);
/// Says that every byte before it had been made durable when it was written.
std::string encode_durable_mark();

struct DecodedRecord {
    Curve curve;
    std::uint32_t version = kCurveVersion;
    std::uint64_t intact_bytes = 0;  // what follows is a write that a crash interrupted
    std::uint64_t last_step = 0;     // of the surviving history, 0 when it is empty
};

/// Bytes after the last intact entry are ignored when no later entry proves that they had been durable; otherwise they
/// are damage.
DecodedRecord decode_record(std::span<const std::byte> bytes, const std::filesystem::path& name);

}  // namespace kiban::monitoring
