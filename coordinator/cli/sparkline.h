// SPDX-License-Identifier: Apache-2.0
// A curve in one line of a terminal: eight heights of block characters. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

namespace kiban::coordinator {

/// Of at most `columns` characters (bytes: three times as many), lowest value lowest. More values than columns: of each
/// column the highest when `highest`, so that no spike is lost, else the mean. A column without a finite value is a
/// space; equal values are all low.
std::string sparkline(const std::vector<double>& values, std::size_t columns, bool highest);

}  // namespace kiban::coordinator
