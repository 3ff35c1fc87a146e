// SPDX-License-Identifier: Apache-2.0
// The known word that a mistyped one most likely meant, for messages. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::coordinator {

/// Weighted edit distance from what was typed to what was meant: an omitted character costs 1, an extra or a wrong one
/// 2, so that abbreviations stay near the word they shorten (Wagner and Fischer 1974).
std::size_t typing_distance(std::string_view typed, std::string_view meant);

/// The nearest of `known` (the first of equals). Empty when there is none.
std::string nearest(std::string_view typed, const std::vector<std::string>& known);

/// The nearest of dotted keys: the last part counts most, then the section it stands in.
std::string nearest_key(std::string_view typed, const std::vector<std::string>& known);

}  // namespace kiban::coordinator
