// SPDX-License-Identifier: Apache-2.0
// The run state table: everything besides tensors that an exact resume needs. Stored in MANIFEST.json; compared on
// load.
//
// Initial weights and order are pure functions of (seed, ...), so there is no generator state to store: `randomness`
// says so.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "data/order.h"

namespace kiban::checkpoint {

struct RunState {
    std::uint64_t step = 0;      // completed updates
    std::uint64_t tokens = 0;    // target tokens trained
    std::uint64_t position = 0;  // of the sample order: rows consumed (not fetched)
    std::uint64_t seed = 0;
    std::string run_file;                       // resolved TOML
    std::string data_digest;                    // SHA-256 of the corpus manifest
    std::vector<std::string> sources;           // ids of its sources, which key their orders; none in older checkpoints
    std::vector<data::MixtureSegment> mixture;  // of the order up to `position`; none in older checkpoints
    std::string tokenizer;
    std::string tokenizer_sha256;  // of its tokenizer.json; empty for `bytes`
    std::uint32_t sequence_length = 0;
    std::string order_version = "feistel-1";
    std::string randomness = "counter-1";
    double best_eval_loss = 0;  // 0: never evaluated
    nlohmann::json anomalies;   // what judges steps (coordinator/job/anomaly.h); null: has seen none
    // Fingerprint of the world: when it is the same, the resume is exact; else sample-exact.
    int workers = 0;
    int threads_per_worker = 0;
    std::uint64_t micro_batch_rows = 0;
    std::string reduction;                                                               // fast | fixed
    std::string layout = "tensor 1, pipeline 1, context 1, gradients summed each step";  // what else orders the sums
    std::string precision = "fp32";  // fp32 | bf16: what matrices are multiplied in
    std::string kernels;             // BLAS core type
    std::string torch_version;
    std::string kiban_version;
};

nlohmann::json to_json(const RunState& state);             // CheckpointError when best_eval_loss is not finite
RunState run_state_from_json(const nlohmann::json& json);  // CheckpointError names the missing or malformed field

/// Whether a corpus holds all that `saved` was trained on, token for token, as its first sources: the same one, or one
/// with more sources behind them.
bool goes_on_with(const RunState& saved, const std::string& data_digest, const std::vector<std::string>& sources);

/// ConfigError naming the field when `now` would see other batches or other random numbers than `saved`: seed, corpus,
/// tokenizer, sequence length, order or randomness version, the mixture up to `saved`. Such a change is a new run, not
/// a resume. Of a checkpoint that no corpus stands behind (checkpoint/imported.h) only the tokenizer counts.
void check_resumable(const RunState& saved, const RunState& now);

/// exact: every later loss bit-equal; sample_exact: same batches, sums may round differently.
enum class Exactness { exact, sample_exact };
struct ExactnessResult {
    Exactness level = Exactness::exact;
    std::string reason;  // what differs, when not exact
};
/// Exact when the world is the same. The number of workers alone does not matter when both reduce in the fixed order.
ExactnessResult compare_world(const RunState& saved, const RunState& now);

}  // namespace kiban::checkpoint
