// SPDX-License-Identifier: Apache-2.0
// Numbers as a person reads them. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kiban::coordinator {

std::string bytes_text(std::uint64_t bytes);                     // 512 B, 1.5 KiB, 30.2 GiB
std::string duration_text(double seconds);                       // 12.3 s, 4 min 05 s, 2 h 03 min, 3 d 04 h
std::string count_text(std::uint64_t count);                     // 1 234 567
std::string shape_text(const std::vector<std::int64_t>& shape);  // [257, 128]

}  // namespace kiban::coordinator
