// SPDX-License-Identifier: Apache-2.0
// The learning curve in a checkpoint: curve.h5, every step up to the checkpoint's, so that a curve can never outlive or
// lag behind its model. Written by the coordinator before the commit, under block CRCs in the manifest as shards are.
//
// One dataset a column (those of monitoring::CurveRow): 84
// bytes a step and one page for the header. Memory while writing: the file. Format: checkpoint/FORMAT.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "monitoring/curve.h"

namespace kiban::checkpoint {

/// What commit_checkpoint() writes into the manifest.
struct CurveReport {
    std::string file;
    std::uint64_t bytes = 0;
    std::vector<std::uint32_t> block_crcs;
    std::uint64_t rows = 0;
    std::vector<std::pair<std::string, std::uint64_t>> columns;  // name, byte in the file at which it begins
};

/// Writes, syncs and closes `directory`/curve.h5 with the rows of steps up to `step` (rows ascend). IoError when the
/// disk refuses; a file that failed is removed. Fault point ckpt.curve.
CurveReport write_curve(const std::filesystem::path& directory, std::span<const monitoring::CurveRow> rows,
                        std::uint64_t step);

/// The curve of a committed checkpoint, every byte checked; nullopt when it carries none (format 1, imported ones).
/// CheckpointError when it is damaged.
std::optional<std::vector<monitoring::CurveRow>> read_curve_of(const std::filesystem::path& checkpoint);

}  // namespace kiban::checkpoint
