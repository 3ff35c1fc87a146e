// SPDX-License-Identifier: Apache-2.0
// The one table of all run-file keys: coordinator/RUN_FILE.md, the reader, the resolved file and the resume check all
// come from it. Private to config/. Built once; any thread.
#pragma once

#include <string>
#include <vector>

#include "coordinator/config/key.h"
#include "coordinator/config/run_file.h"

namespace kiban::coordinator {

/// Grouped by section, in the order of the resolved file.
const std::vector<Key<RunFile>>& run_file_keys();
/// Keys of one [[data.sources]], without the prefix.
const std::vector<Key<data::SourceConfig>>& source_keys();

inline constexpr const char* kSources = "data.sources";

/// Dotted names of everything: keys, data.sources.N.KEY written as data.sources.KEY, and sections.
std::vector<std::string> known_names();
/// Whether `name` is a section: a prefix of a key.
bool is_section(const std::string& name);

}  // namespace kiban::coordinator
