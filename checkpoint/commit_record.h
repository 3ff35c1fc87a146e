// SPDX-License-Identifier: Apache-2.0
// COMMIT: the fixed small record that makes a directory a checkpoint (bytes: checkpoint/FORMAT.md). Internal to this
// room.
//
// It holds size, CRC-32C and SHA-256 of MANIFEST.json and its own CRC, so a directory name that appears before its
// contents (network file systems) or a manifest from another save is noticed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>

namespace kiban::checkpoint {

inline constexpr const char* kCommitName = "COMMIT";
inline constexpr std::uint32_t kFormatVersion = 2;  // of COMMIT and MANIFEST.json together
inline constexpr std::uint32_t kOldestVersion = 1;  // that is read: it had no curve
inline constexpr std::size_t kCommitBytes = 116;

struct CommitRecord {
    std::uint32_t attempt = 0;
    std::uint64_t step = 0;
    std::uint64_t manifest_bytes = 0;
    std::uint64_t shard_bytes = 0;  // of all shard files
    std::uint32_t manifest_crc = 0;
    std::string manifest_sha256;  // 64 hex digits

    static CommitRecord of(std::string_view manifest, std::uint64_t step, std::uint32_t attempt,
                           std::uint64_t shard_bytes);
    /// Whether size, CRC and digest are those of this text.
    bool matches(std::string_view manifest) const;
};

std::string encode(const CommitRecord& record);
/// CheckpointError when truncated, damaged or not a record; NewerFormatError when written by a newer Kiban.
CommitRecord read_commit_record(const std::filesystem::path& checkpoint);

}  // namespace kiban::checkpoint
