// SPDX-License-Identifier: Apache-2.0
// A corpus prepared as several workers would.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "data/config.h"
#include "tests/data/files.h"

namespace kiban::data {

struct Shuffled {
    std::uint64_t given_back = 0;
    std::vector<std::pair<std::string, std::string>> files;
};

/// Several workers at once: tasks are held, done in any order, given back, done twice.
Shuffled prepare_shuffled(const DataConfig& config, const TempDirectory& directory, const std::string& corpora,
                          std::uint64_t seed);

}  // namespace kiban::data
