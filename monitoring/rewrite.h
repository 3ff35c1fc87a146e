// SPDX-License-Identifier: Apache-2.0
// For files that are written anew all the time, and inform: all or nothing, but not durable.
#pragma once

#include <filesystem>
#include <string_view>

namespace kiban::monitoring {

/// Replaces `name` by `content`: after a crash of the machine it may be an older one, or missing. IoError.
void rewrite(const std::filesystem::path& name, std::string_view content);

}  // namespace kiban::monitoring
