// SPDX-License-Identifier: Apache-2.0
// A part of a buffer cut in pieces of one size; the last is what remains, those after it are empty.
#pragma once

#include <algorithm>
#include <cstdint>

#include "checkpoint/placement.h"

namespace kiban::worker {

inline std::int64_t pieces_in(const checkpoint::Part& part, std::int64_t piece) {
    return (part.size() + piece - 1) / piece;
}

inline checkpoint::Part piece_of(const checkpoint::Part& part, std::int64_t index, std::int64_t piece) {
    const std::int64_t begin = std::min(part.begin + index * piece, part.end);
    return {begin, std::min(begin + piece, part.end)};
}

}  // namespace kiban::worker
