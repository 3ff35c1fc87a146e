// SPDX-License-Identifier: Apache-2.0
// A model in the ecosystem's form (config.json and safetensors of the Llama or GPT-2 family) as a new run directory:
// its weights as the checkpoint of step 0 with an optimizer state of zeros, so that `kiban pretrain RUN_DIR/run.toml`
// continues from them.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kiban::coordinator {

struct ImportOptions {
    std::filesystem::path directory;         // config.json, model.safetensors or its index
    std::filesystem::path run_dir;           // must hold no run
    std::filesystem::path run_file;          // what is not of the model: data, train, ...; empty: defaults and settings
    std::vector<std::string> settings;       // KEY=VALUE, over the run file
    std::uint64_t shard_bytes = 256u << 20;  // of one file of the checkpoint, before the next is begun
};

struct ImportResult {
    std::string model;  // "llama 2x32"
    std::uint64_t tensors = 0;
    std::uint64_t parameters = 0;
    std::vector<std::string> notes;  // what the person should know: tied head copied, constants left out
    std::filesystem::path run_file;
    std::filesystem::path checkpoint;
};

/// The model's keys come from config.json; a run file that says something else is refused. f32, bf16 and f16 become
/// fp32. Memory: shard_bytes and four times the largest tensor. The run file is written last: without it there is no
/// run. ConfigError for another vocabulary, family, shape, for missing and unknown tensors; CheckpointError for damage.
ImportResult import_model(const ImportOptions& options);

}  // namespace kiban::coordinator
