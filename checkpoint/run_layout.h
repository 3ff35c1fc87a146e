// SPDX-License-Identifier: Apache-2.0
// Where checkpoints lie in a run directory, and how a directory leaves. Internal to this room.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/manifest.h"

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
/// Like throw_away(), unless `stays` says so just before the name goes or just after, when it comes back.
void throw_away_unless(const std::filesystem::path& checkpoints, const std::filesystem::path& directory,
                       const std::function<bool()>& stays);
void throw_away(const std::filesystem::path& checkpoints, const std::filesystem::path& directory);

std::filesystem::path promoted_file(const std::filesystem::path& run_dir);  // RUN/ckpt/promoted.jsonl
std::filesystem::path pinned_file(const std::filesystem::path& run_dir);    // RUN/ckpt/pinned.jsonl

/// Appends {"checkpoint", "time"} and `more` as a line, durable on return.
void append_record(const std::filesystem::path& file, const std::string& checkpoint, nlohmann::json more,
                   std::string_view point);
/// The lines with a "checkpoint". Lines that were cut short by a crash do not count; no file, no lines.
std::vector<nlohmann::json> read_records(const std::filesystem::path& file);

/// Names in rejected.jsonl.
std::vector<std::string> rejected_names(const std::filesystem::path& run_dir);

}  // namespace kiban::checkpoint
