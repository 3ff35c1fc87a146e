// SPDX-License-Identifier: Apache-2.0
// Run files of which something else says a part: what a file says holds over the defaults given here.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/config/run_file.h"

namespace kiban::coordinator {

/// As read_run_file(); `defaults`, written as overrides are, hold where neither the file nor an override says anything.
/// An empty `file` says nothing, and relative paths start at the working directory.
RunFile read_run_file_over(const std::vector<std::string>& defaults, const std::filesystem::path& file,
                           const std::vector<std::string>& overrides);

}  // namespace kiban::coordinator
