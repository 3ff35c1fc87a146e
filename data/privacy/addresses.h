// SPDX-License-Identifier: Apache-2.0
// Addresses of persons and machines, at the character that gives them away.
#pragma once

#include <optional>
#include <string_view>

#include "data/privacy/kind.h"

namespace kiban::data {

/// `at`: an '@', or a full-width one of `at_bytes` bytes.
std::optional<Finding> email_at(std::string_view text, std::size_t at, std::size_t at_bytes);
/// `at`: a digit before which stands no letter, digit or '.'. Not: versions, this machine, no machine, all machines.
std::optional<Finding> ipv4_at(std::string_view text, std::size_t at);
/// `at`: the first ':' of what may be an IPv6 or a MAC address.
std::optional<Finding> hex_address_at(std::string_view text, std::size_t at);
/// `at`: the ':' of "://" before NAME:PASSWORD@HOST; the finding is NAME:PASSWORD.
std::optional<Finding> url_credentials_at(std::string_view text, std::size_t at);

}  // namespace kiban::data
