// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/commit_record.h"

#include <algorithm>
#include <cstring>
#include <span>

#include "checkpoint/manifest.h"
#include "data/digest.h"
#include "monitoring/crc32c.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {
namespace {

constexpr std::string_view kMagic = "KIBANCKP";
constexpr std::size_t kVersionAt = 8;
constexpr std::size_t kShaBytes = 64;
constexpr std::size_t kCrcAt = kCommitBytes - sizeof(std::uint32_t);

std::uint32_t crc_of(std::string_view text) { return monitoring::crc32c(std::as_bytes(std::span(text))); }

template <typename Value>
void put(std::string& bytes, Value value) {
    const std::size_t at = bytes.size();
    bytes.resize(at + sizeof value);
    std::memcpy(bytes.data() + at, &value, sizeof value);
}

template <typename Value>
Value take(std::string_view& bytes) {
    Value value;
    std::memcpy(&value, bytes.data(), sizeof value);
    bytes.remove_prefix(sizeof value);
    return value;
}

}  // namespace

CommitRecord CommitRecord::of(std::string_view manifest, std::uint64_t step, std::uint32_t attempt,
                              std::uint64_t shard_bytes) {
    return {attempt, step, manifest.size(), shard_bytes, crc_of(manifest), data::sha256(manifest)};
}

bool CommitRecord::matches(std::string_view manifest) const {
    return manifest.size() == manifest_bytes && crc_of(manifest) == manifest_crc &&
           data::sha256(manifest) == manifest_sha256;
}

std::string encode(const CommitRecord& record) {
    KIBAN_CHECK(record.manifest_sha256.size() == kShaBytes, "digest '{}'", record.manifest_sha256);
    std::string bytes(kMagic);
    put(bytes, kFormatVersion);
    put(bytes, record.attempt);
    put(bytes, record.step);
    put(bytes, record.manifest_bytes);
    put(bytes, record.shard_bytes);
    put(bytes, record.manifest_crc);
    put(bytes, std::uint32_t{0});
    bytes += record.manifest_sha256;
    put(bytes, crc_of(bytes));
    KIBAN_CHECK(bytes.size() == kCommitBytes, "{} bytes", bytes.size());
    return bytes;
}

CommitRecord read_commit_record(const std::filesystem::path& checkpoint) {
    const auto name = checkpoint / kCommitName;
    if (monitoring::link_status_of(name).kind != monitoring::FileKind::regular) {
        throw CheckpointError("cannot trust checkpoint '{}': it has no file {}", checkpoint.string(), kCommitName);
    }
    const auto file = monitoring::File::open_read(name);
    std::string bytes(std::min<std::uint64_t>(file.size(), 2 * kCommitBytes), '\0');
    file.read_at(0, std::as_writable_bytes(std::span(bytes)));
    const std::string_view view(bytes);
    if (!view.starts_with(kMagic) || view.size() < kVersionAt + sizeof(std::uint32_t)) {
        throw CheckpointError("cannot trust checkpoint '{}': its {} of {} bytes is not a commit record",
                              checkpoint.string(), kCommitName, file.size());
    }
    std::string_view rest = view.substr(kVersionAt);
    const auto version = take<std::uint32_t>(rest);
    const bool sized = file.size() == kCommitBytes;
    std::string_view own_crc = sized ? view.substr(kCrcAt) : view;
    const bool sound = sized && take<std::uint32_t>(own_crc) == crc_of(view.substr(0, kCrcAt));
    if (version > kFormatVersion && (sound || !sized)) {
        throw NewerFormatError(
            "cannot read checkpoint '{}': it has format version {}, this Kiban reads up to {}; use a newer Kiban",
            checkpoint.string(), version, kFormatVersion);
    }
    if (!sound) {
        throw CheckpointError(
            "cannot trust checkpoint '{}': its {} is damaged (expected {} bytes that match their CRC, found {} bytes)",
            checkpoint.string(), kCommitName, kCommitBytes, file.size());
    }
    if (version < kOldestVersion) {
        throw CheckpointError("cannot trust checkpoint '{}': its {} has format version {}, which never existed",
                              checkpoint.string(), kCommitName, version);
    }
    CommitRecord record;
    record.attempt = take<std::uint32_t>(rest);
    record.step = take<std::uint64_t>(rest);
    record.manifest_bytes = take<std::uint64_t>(rest);
    record.shard_bytes = take<std::uint64_t>(rest);
    record.manifest_crc = take<std::uint32_t>(rest);
    take<std::uint32_t>(rest);  // padding, covered by the CRC
    record.manifest_sha256 = rest.substr(0, kShaBytes);
    return record;
}

}  // namespace kiban::checkpoint
