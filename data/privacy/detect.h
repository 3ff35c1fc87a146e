// SPDX-License-Identifier: Apache-2.0
// Personal data and secrets in a text: one pass that stops at the characters which give them away, and an exact test at
// each. A pure function of the text; linear in its length. Thread-safe.
#pragma once

#include <string_view>
#include <vector>

#include "data/privacy/kind.h"
#include "data/privacy/names.h"

namespace kiban::data {

/// Of the kinds that are wanted, in the order of the text; no two overlap. Other kinds are as if they did not exist:
/// none hides what is wanted. Names are those of `names`; null: none.
std::vector<Finding> find_personal(std::string_view text, const KindSet& wanted = all_kinds(),
                                   const NameList* names = nullptr);

}  // namespace kiban::data
