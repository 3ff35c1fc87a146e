// SPDX-License-Identifier: Apache-2.0
// What a number in a text is, by its form, its check digits, and the words before it.
#pragma once

#include <optional>
#include <string_view>

#include "data/privacy/kind.h"

namespace kiban::data {

/// `at`: a digit before which stands no letter or digit (or the T of an invoice number); nothing when it is no personal
/// number of a kind that is wanted. The finding may begin before `at`, at a '+' or '('.
std::optional<Finding> number_at(std::string_view text, std::size_t at, const KindSet& wanted);
/// `at`: the first digit behind two capital letters before which stands no letter or digit.
std::optional<Finding> iban_at(std::string_view text, std::size_t at);

}  // namespace kiban::data
