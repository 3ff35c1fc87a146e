// SPDX-License-Identifier: Apache-2.0
// `kiban fork`: a new run that goes on from a checkpoint of another one, with other settings.
//
// The weights, the optimizer's state and the curve up to that step are copied, and every byte is checked on the way;
// the parent is only read. Where nothing that trains is changed, the new run's curve is bit for bit the parent's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kiban::coordinator {

struct ForkOptions {
    std::filesystem::path parent;       // a run directory
    std::optional<std::uint64_t> step;  // of one of its checkpoints; none: its newest good one
    std::filesystem::path run_dir;      // must hold no run; empty: PARENT-fork-STEP
    std::vector<std::string> settings;  // KEY=VALUE, over the parent's run file as the checkpoint holds it
};

struct ForkResult {
    std::filesystem::path run_file;
    std::filesystem::path checkpoint;
    std::uint64_t step = 0;
    std::vector<std::string> changes;  // "key: saved X, now Y"
    bool other_rows = false;           // sources, row length or seed are others: the new rows begin at their first one
    std::uint64_t curve_rows = 0;      // carried over
};

/// The run file is written last: without it there is no run. ConfigError for a change of what the stored tensors are,
/// naming each, for a directory in use and for a step that has no checkpoint, naming those that have;
/// CheckpointError for damage.
ForkResult fork_run(const ForkOptions& options);

}  // namespace kiban::coordinator
