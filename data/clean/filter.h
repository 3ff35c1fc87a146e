// SPDX-License-Identifier: Apache-2.0
// Rules that say which texts are worth training on: Gopher's (Rae et al. 2021, section A1.1 and table A1) and
// FineWeb's (Penedo et al. 2024, section 3.6). Pure functions of the text.
#pragma once

#include <string_view>

#include "data/clean/config.h"

namespace kiban::data {

/// The first rule of the configuration, in its order, that the text breaks, by its key's name; empty for a good one.
std::string_view broken_rule(const FilterConfig& rules, std::string_view text);

}  // namespace kiban::data
