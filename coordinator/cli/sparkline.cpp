// SPDX-License-Identifier: Apache-2.0
#include "coordinator/cli/sparkline.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace kiban::coordinator {
namespace {

constexpr std::array<const char*, 8> kHeights = {"▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};

double of_column(const std::vector<double>& values, std::size_t begin, std::size_t end, bool highest) {
    double sum = 0;
    double most = -std::numeric_limits<double>::infinity();
    std::size_t count = 0;
    for (std::size_t i = begin; i < end; ++i) {
        if (!std::isfinite(values[i])) continue;
        sum += values[i];
        most = std::max(most, values[i]);
        ++count;
    }
    if (count == 0) return std::numeric_limits<double>::quiet_NaN();
    return highest ? most : sum / static_cast<double>(count);
}

}  // namespace

std::string sparkline(const std::vector<double>& values, std::size_t columns, bool highest) {
    columns = std::min(columns, values.size());
    std::vector<double> heights;
    for (std::size_t i = 0; i < columns; ++i)
        heights.push_back(of_column(values, i * values.size() / columns, (i + 1) * values.size() / columns, highest));
    double low = std::numeric_limits<double>::infinity();
    double high = -low;
    for (const double height : heights) {
        if (!std::isfinite(height)) continue;
        low = std::min(low, height);
        high = std::max(high, height);
    }
    std::string line;
    for (const double height : heights) {
        if (!std::isfinite(height)) {
            line += ' ';
            continue;
        }
        const double share = high > low ? (height - low) / (high - low) : 0;
        line += kHeights.at(std::min<std::size_t>(static_cast<std::size_t>(share * 8), 7));
    }
    return line;
}

}  // namespace kiban::coordinator
