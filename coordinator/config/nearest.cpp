// SPDX-License-Identifier: Apache-2.0
#include "coordinator/config/nearest.h"

#include <algorithm>
#include <limits>
#include <numeric>

namespace kiban::coordinator {
namespace {

template <typename Distance>
std::string closest(const std::vector<std::string>& known, Distance distance) {
    std::string best;
    std::size_t least = std::numeric_limits<std::size_t>::max();
    for (const std::string& word : known) {
        if (const std::size_t d = distance(word); d < least) {
            least = d;
            best = word;
        }
    }
    return best;
}

struct Split {
    std::string_view section;
    std::string_view last;
};

Split split(std::string_view key) {
    const std::size_t dot = key.rfind('.');
    if (dot == std::string_view::npos) return {{}, key};
    return {key.substr(0, dot), key.substr(dot + 1)};
}

}  // namespace

std::size_t typing_distance(std::string_view typed, std::string_view meant) {
    std::vector<std::size_t> row(meant.size() + 1);
    std::iota(row.begin(), row.end(), std::size_t{0});
    for (const char character : typed) {
        std::size_t diagonal = row[0];
        row[0] += 2;
        for (std::size_t j = 1; j <= meant.size(); ++j) {
            const std::size_t substituted = diagonal + (character == meant[j - 1] ? 0 : 2);
            diagonal = row[j];
            row[j] = std::min({substituted, row[j] + 2, row[j - 1] + 1});
        }
    }
    return row.back();
}

std::string nearest(std::string_view typed, const std::vector<std::string>& known) {
    return closest(known, [&](const std::string& word) { return typing_distance(typed, word); });
}

std::string nearest_key(std::string_view typed, const std::vector<std::string>& known) {
    const Split wanted = split(typed);
    return closest(known, [&](const std::string& key) {
        const Split candidate = split(key);
        return 4 * typing_distance(wanted.last, candidate.last) + typing_distance(wanted.section, candidate.section);
    });
}

}  // namespace kiban::coordinator
