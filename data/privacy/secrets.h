// SPDX-License-Identifier: Apache-2.0
// Keys and tokens of the services that mark theirs, and private keys.
#pragma once

#include <optional>
#include <string_view>

#include "data/privacy/kind.h"

namespace kiban::data {

/// `at`: a character that stands in every one of them ('_', '-', 'A' or 'J'); the finding may begin before it.
std::optional<Finding> secret_at(std::string_view text, std::size_t at);

}  // namespace kiban::data
