// SPDX-License-Identifier: Apache-2.0
// The tokenizer that a run was trained with.
#pragma once

#include <filesystem>
#include <string>

#include "coordinator/config/run_file.h"
#include "data/tokenizer.h"

namespace kiban::coordinator {

struct RunTokenizer {
    data::Tokenizer tokenizer;
    std::string file;  // its bytes; empty for `bytes`
};

/// `sha256`: as the checkpoint has it. Looked for beside the run's corpus, and where the run file names a file.
/// ConfigError when neither has the tokenizer with this digest.
RunTokenizer tokenizer_of_run(const std::filesystem::path& run_dir, const RunFile& run_file, const std::string& sha256);

}  // namespace kiban::coordinator
