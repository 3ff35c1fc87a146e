// SPDX-License-Identifier: Apache-2.0
// How deep a JSON text nests, told before it is parsed: copying, comparing and writing a parsed value recurse, so a
// text of a hundred thousand brackets would end the process. Pure; any thread.
#pragma once

#include <cstddef>
#include <string_view>

namespace kiban::monitoring {

inline constexpr std::size_t kMostNesting = 64;  // no file or message of ours has more than a dozen levels

/// Whether `json`, which need not be JSON, has more than `levels` brackets and braces open at once.
bool nests_deeper_than(std::string_view json, std::size_t levels);

}  // namespace kiban::monitoring
