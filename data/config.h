// SPDX-License-Identifier: Apache-2.0
// Section [data] of the run file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kiban::data {

struct SourceConfig {
    std::string path;             // file, glob or directory (searched recursively, sorted); relative to the run file
    double weight = 1.0;          // share of the mixture, relative to the other sources'
    std::string format = "auto";  // auto (.jsonl is JSONL, all else text) | text | jsonl; .gz and .zst are read through
    std::string text_field = "text";  // JSONL: the field that holds the document
};

enum class HoldoutBy { tail, document };

struct HoldoutConfig {
    double fraction = 0.1;           // in [0, 1): 0 holds nothing out
    HoldoutBy by = HoldoutBy::tail;  // tail: the last part of each source's tokens; document: by a hash of its text
};

enum class Packing {
    concat,    // a source's tokens one after the other, cut each T
    best_fit,  // documents whole where they fit, predicted across no border, the rest of a row padded (data/packing.h)
};

struct DataConfig {
    std::string tokenizer = "bytes";      // bytes | bpe:N, trained on the corpus | a tokenizer.json or .model
    std::uint32_t sequence_length = 256;  // tokens a row, T
    HoldoutConfig holdout;
    std::vector<SourceConfig> sources;
    std::string corpora_dir;                 // where token shards live; empty: 'corpora' beside the run directory
    std::uint64_t unit_bytes = 32u << 20;    // input bytes of one work unit
    std::uint64_t shard_tokens = 64u << 20;  // tokens of one shard file at most
};

/// ConfigError naming the key for a value outside its range, or a tokenizer or format that is not there.
void validate(const DataConfig& config);

}  // namespace kiban::data
