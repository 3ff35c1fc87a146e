// SPDX-License-Identifier: Apache-2.0
// Where checkpoints lie in a run directory, and how a directory leaves. Internal to this room.
#pragma once

#include "checkpoint/manifest.h"

#include <filesystem>
#include <string>
#include <vector>

namespace kiban::checkpoint {

std::filesystem::path checkpoints_of(const std::filesystem::path& run_dir);  // RUN/ckpt
std::filesystem::path staging_of(const std::filesystem::path& run_dir);      // RUN/ckpt/.staging
std::filesystem::path trash_of(const std::filesystem::path& checkpoints);    // RUN/ckpt/.trash
std::filesystem::path rejected_file(const std::filesystem::path& run_dir);   // RUN/ckpt/rejected.jsonl

/// 16 hex digits that no other save, process or host has.
std::string make_nonce();

/// Names of the sub-directories, unsorted; none when the directory is missing. IoError when it cannot be listed.
std::vector<std::string> directories_in(const std::filesystem::path& directory);

/// Renames into .trash, durably, then deletes. What cannot be deleted stays in .trash for the next sweep and is logged.
void throw_away(const std::filesystem::path& checkpoints, const std::filesystem::path& directory);

/// Names in rejected.jsonl. Lines that were cut short by a crash do not count.
std::vector<std::string> rejected_names(const std::filesystem::path& run_dir);

}  // namespace kiban::checkpoint
