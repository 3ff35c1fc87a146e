// SPDX-License-Identifier: Apache-2.0
// The run-file reference as Markdown, made from the table of keys: what coordinator/RUN_FILE.md must hold. Pure; any
// thread.
#pragma once

#include <string>
#include <vector>

namespace kiban::coordinator {

struct ReferenceSection {
    std::string name;               // train.optimizer
    std::vector<std::string> rows;  // "| `learning_rate` | 0.001 | ... |"
};

/// In the order of the resolved file; [[data.sources]] last.
std::vector<ReferenceSection> run_file_reference();

}  // namespace kiban::coordinator
