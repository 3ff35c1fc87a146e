// SPDX-License-Identifier: Apache-2.0
// Section [data] of the run file.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "data/clean/config.h"

namespace kiban::data {

struct SourceConfig {
    std::string path;             // file, glob or directory (searched recursively, sorted); relative to the run file
    double weight = 1.0;          // share of the mixture, relative to the other sources'
    std::string format = "auto";  // auto (.jsonl is JSONL, all else text) | text | jsonl; .gz and .zst are read through
    std::string text_field = "text";  // JSONL: the field that holds the document
    double max_bad_lines = 0;         // JSONL: of its lines, that may be no documents and are left out; 0: none
    std::string name;                 // what the manifest calls it; empty: its path
    std::string licence;              // under which its text may be used
    std::string legal_basis;          // on which personal data in it is processed
    std::string retain_until;         // YYYY-MM-DD, the last day of its use; empty: no end
    std::string sensitivity;          // public | internal (must be anonymised and have max_bytes); empty: not stated
    std::uint64_t max_bytes = 0;      // of its files: more is refused; 0: any number
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
    Packing packing = Packing::concat;
    HoldoutConfig holdout;
    std::vector<SourceConfig> sources;
    CleanConfig clean;
    std::string forget;       // file of identities of documents that are not read any more; relative to the run file
    std::string corpora_dir;  // where token shards live; empty: 'corpora' beside the run directory
    std::uint64_t unit_bytes = 32u << 20;    // input bytes of one work unit
    std::uint64_t shard_tokens = 64u << 20;  // tokens of one shard file at most
};

/// ConfigError naming the key for a value outside its range, or a tokenizer or format that is not there.
void validate(const DataConfig& config);

/// ConfigError for a source whose last day of use is before `today` (YYYY-MM-DD).
void check_retention(const DataConfig& config, const std::string& today);

}  // namespace kiban::data
