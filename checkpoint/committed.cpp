// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <charconv>
#include <map>

#include "checkpoint/manifest.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;

std::optional<std::uint64_t> size_of_regular_file(const fs::path& name) {
    const monitoring::FileStatus status = monitoring::link_status_of(name);
    if (status.kind != monitoring::FileKind::regular) return std::nullopt;
    return status.bytes;
}

}  // namespace

std::string CheckpointName::text() const { return fmt::format("step-{:012}-a{:06}", step, attempt); }

std::optional<CheckpointName> CheckpointName::parse(const std::string& text) {
    constexpr std::string_view kStep = "step-";
    if (!text.starts_with(kStep)) return std::nullopt;
    CheckpointName name;
    const char* end = text.data() + text.size();
    const auto step = std::from_chars(text.data() + kStep.size(), end, name.step);
    if (step.ec != std::errc() || !std::string_view(step.ptr, end).starts_with("-a")) return std::nullopt;
    if (std::from_chars(step.ptr + 2, end, name.attempt).ec != std::errc()) return std::nullopt;
    return name.text() == text ? std::optional(name) : std::nullopt;
}

std::string last_name(const fs::path& directory) {
    return (directory.has_filename() ? directory : directory.parent_path()).filename().string();
}

std::optional<std::string> file_fault(const fs::path& directory, const ManifestFile& file) {
    const auto bytes = size_of_regular_file(directory / file.name);
    if (!bytes) return fmt::format("cannot trust checkpoint '{}': file '{}' is missing", directory.string(), file.name);
    if (*bytes == file.bytes) return std::nullopt;
    return fmt::format("cannot trust checkpoint '{}': file '{}' has {} bytes, expected {}", directory.string(),
                       file.name, *bytes, file.bytes);
}

std::vector<std::string> strangers_in(const fs::path& directory, const std::vector<ManifestFile>& files,
                                      const std::vector<std::string>& also_there) {
    std::vector<std::string> strangers;
    for (const std::string& name : monitoring::names_in(directory)) {
        const bool known = name.starts_with('.') || std::ranges::find(also_there, name) != also_there.end() ||
                           std::ranges::find(files, name, &ManifestFile::name) != files.end();
        if (!known) strangers.push_back(name);
    }
    return strangers;
}

void check_files(const fs::path& directory, const std::vector<ManifestFile>& files,
                 const std::vector<std::string>& also_there) {
    for (const ManifestFile& file : files) {
        if (const auto fault = file_fault(directory, file)) throw CheckpointError("{}", *fault);
    }
    for (const std::string& name : strangers_in(directory, files, also_there)) {
        throw CheckpointError("cannot trust checkpoint '{}': '{}' does not belong to it", directory.string(), name);
    }
}

Committed load_committed(const fs::path& checkpoint, FileCheck files) {
    if (monitoring::link_status_of(checkpoint).kind == monitoring::FileKind::none) {
        throw IoError("cannot read checkpoint '{}': it is not there; is its file system mounted on this host?",
                      checkpoint.string());
    }
    if (!monitoring::directory_at(checkpoint)) {
        throw CheckpointError("cannot read checkpoint '{}': it is not a directory", checkpoint.string());
    }
    const CommitRecord record = read_commit_record(checkpoint);
    const CheckpointName name{record.step, record.attempt};
    if (const auto shown = CheckpointName::parse(last_name(checkpoint)); shown && *shown != name) {
        throw CheckpointError("cannot trust checkpoint '{}': its {} is that of {}", checkpoint.string(), kCommitName,
                              name.text());
    }
    const fs::path manifest_name = checkpoint / kManifestName;
    const auto bytes = size_of_regular_file(manifest_name);
    if (!bytes)
        throw CheckpointError("cannot trust checkpoint '{}': file '{}' is missing", checkpoint.string(), kManifestName);
    if (*bytes != record.manifest_bytes) {
        throw CheckpointError("cannot trust checkpoint '{}': file '{}' has {} bytes, expected {}", checkpoint.string(),
                              kManifestName, *bytes, record.manifest_bytes);
    }
    const std::string text = monitoring::read_text(manifest_name);
    if (!record.matches(text)) {
        throw CheckpointError("cannot trust checkpoint '{}': '{}' does not have the SHA-256 that {} holds",
                              checkpoint.string(), kManifestName, kCommitName);
    }
    Committed committed{record, Manifest::parse(text, manifest_name.string())};
    const Manifest& manifest = committed.manifest;
    if (manifest.step != record.step || manifest.attempt != record.attempt ||
        manifest.shard_bytes() != record.shard_bytes) {
        throw CheckpointError(
            "cannot trust checkpoint '{}': '{}' is of step {}, attempt {}, {} bytes, {} of step {}, attempt {}, {} "
            "bytes",
            checkpoint.string(), kManifestName, manifest.step, manifest.attempt, manifest.shard_bytes(), kCommitName,
            record.step, record.attempt, record.shard_bytes);
    }
    if (files == FileCheck::sizes) check_files(checkpoint, manifest.files, {kCommitName, kManifestName});
    return committed;
}

}  // namespace kiban::checkpoint
