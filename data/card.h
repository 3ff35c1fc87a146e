// SPDX-License-Identifier: Apache-2.0
// What a corpus is, for people and for other programs. Both are pure functions of its manifest: they hold no time, host
// or number of workers, and no text.
#pragma once

#include <string>

#include "data/manifest.h"

namespace kiban::data {

/// Markdown: where the text came from, on what terms, what was left out and taken out, how much there is.
std::string data_card(const Manifest& manifest);

/// Croissant 1.1 (JSON-LD) with its terms for responsible AI and the W3C's for provenance; files relative to it.
std::string croissant(const Manifest& manifest);

}  // namespace kiban::data
