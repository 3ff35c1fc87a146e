// SPDX-License-Identifier: Apache-2.0
// Text as text: well-formed UTF-8 without a byte order mark, lines that end with \n, no control characters but \t and
// \n. Nothing else is changed: no composition, no compatibility forms.
#pragma once

#include <cstdint>
#include <string>

namespace kiban::data {

struct NormaliseCounts {
    std::uint64_t ill_formed_bytes = 0;  // of sequences that are no UTF-8; each became one U+FFFD
    std::uint64_t control_bytes = 0;     // taken out, byte order marks too
    std::uint64_t line_ends = 0;         // \r\n and \r that became \n

    bool changed() const { return ill_formed_bytes + control_bytes + line_ends > 0; }
};

/// In place. An ill-formed sequence is as long as could begin a character ("maximal subpart", Unicode 14, chapter 3.9).
NormaliseCounts normalise_text(std::string& text);

/// More bytes than one in a thousand are no UTF-8: it is no text.
inline bool is_no_text(const NormaliseCounts& counts, std::uint64_t bytes) {
    return counts.ill_formed_bytes * 1000 > bytes;
}

}  // namespace kiban::data
