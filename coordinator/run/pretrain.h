// SPDX-License-Identifier: Apache-2.0
// The main job: prepare what is missing, train, survive, finish. The whole life of a coordinator process.
//
// Called from the main thread before any other thread exists (signals). Returns an exit code (monitoring/exit_codes.h)
// after saying why; throws Kiban's errors for what is refused before the first attempt.
#pragma once

#include <filesystem>
#include <string>

#include "coordinator/config/run_file.h"

namespace kiban::coordinator {

struct PretrainOptions {
    bool fresh = false;      // start over although there are checkpoints; they are moved aside
    bool take_over = false;  // take the run from a live coordinator, which then ends
};

int pretrain(const RunFile& run_file, const PretrainOptions& options);

/// Corpora into token shards and a manifest, only.
int prepare(const RunFile& run_file);

struct GenerateOptions {
    std::string prompt;
    std::uint64_t max_tokens = 200;
    double temperature = 1.0;
    std::uint64_t top_k = 0;  // only among the k likeliest tokens; 0: all
    std::uint64_t seed = 1;
    std::filesystem::path checkpoint;  // empty: the newest good one
};

/// Text from a run's model, to standard output.
int generate(const std::filesystem::path& run_dir, const GenerateOptions& options);

}  // namespace kiban::coordinator
