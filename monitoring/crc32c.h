// SPDX-License-Identifier: Apache-2.0
// CRC-32C (Castagnoli, RFC 3720 appendix B.4): polynomial 0x1EDC6F41 reflected. Uses the processor's instruction where
// present.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace kiban::monitoring {

/// CRC of `bytes` continuing from `previous` (0 to start). crc32c("123456789") is 0xE3069283.
std::uint32_t crc32c(std::span<const std::byte> bytes, std::uint32_t previous = 0);

/// The same value without the processor's instruction.
std::uint32_t crc32c_portable(std::span<const std::byte> bytes, std::uint32_t previous = 0);

}  // namespace kiban::monitoring
