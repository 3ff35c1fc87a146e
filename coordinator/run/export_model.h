// SPDX-License-Identifier: Apache-2.0
// A checkpoint's weights as a directory that the ecosystem loads: model.safetensors (or several files and an index),
// config.json, generation_config.json, tokenizer_config.json, the run's tokenizer.json or .model unless it is `bytes`;
// and kiban.json, which says where they come from.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

namespace kiban::coordinator {

struct ExportOptions {
    std::filesystem::path checkpoint;
    std::filesystem::path directory;  // must not be there, or be empty
    std::string dtype = "f32";        // f32 | bf16: rounded to the nearest
    std::uint64_t shard_bytes = 5'000'000'000;
};

struct ExportResult {
    std::uint64_t step = 0;
    std::uint64_t tensors = 0;
    std::uint64_t bytes = 0;  // of tensors
    std::size_t files = 0;    // of tensors
};

/// All or nothing: the directory gets its name when everything in it is durable. Memory: twice the largest tensor.
/// CheckpointError for damage, by every block's CRC and every tensor's fingerprint; ConfigError for what the ecosystem
/// has no form for, and when the run's tokenizer is gone; IoError.
ExportResult export_model(const ExportOptions& options);

}  // namespace kiban::coordinator
