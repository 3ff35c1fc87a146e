// SPDX-License-Identifier: Apache-2.0
// Personal data and secrets in a text: one pass that stops at the characters which give them away, and an exact test at
// each. A pure function of the text; linear in its length. Thread-safe.
#pragma once

#include <string_view>
#include <vector>

#include "data/privacy/kind.h"

namespace kiban::data {

/// In the order of the text; no two overlap.
std::vector<Finding> find_personal(std::string_view text);

}  // namespace kiban::data
