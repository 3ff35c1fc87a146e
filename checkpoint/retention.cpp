// SPDX-License-Identifier: Apache-2.0
#include <fmt/chrono.h>

#include <algorithm>
#include <ctime>

#include "checkpoint/commit.h"
#include "checkpoint/run_layout.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kFewestKept = 2;  // the newest may turn out to be damaged

bool is_in(const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
}

// Every directory with the name of a checkpoint, rejected or not, newest first.
std::vector<CheckpointName> scan(const fs::path& run_dir) {
    std::vector<CheckpointName> names;
    for (const std::string& entry : directories_in(checkpoints_of(run_dir))) {
        if (const auto name = CheckpointName::parse(entry)) names.push_back(*name);
    }
    std::ranges::sort(names, std::greater<>());
    return names;
}

CheckpointInfo info_of(const fs::path& run_dir, const CheckpointName& name) {
    CheckpointInfo info{checkpoints_of(run_dir) / name.text(), name.step, name.attempt, 0};
    try {
        const CommitRecord record = read_commit_record(info.directory);
        info.bytes = record.shard_bytes + record.manifest_bytes + kCommitBytes;
    } catch (const Error&) {
        info.bytes = 0;  // listed by its name all the same; quick_fault says what is wrong
    }
    return info;
}

// The reason why a checkpoint is not to be used, if any. NewerFormatError passes, and so does IoError: a file that
// cannot be read now may be read later, so it is no reason to reject a checkpoint for ever.
std::optional<std::string> fault_of(const fs::path& checkpoint) {
    try {
        load_committed(checkpoint);
        return std::nullopt;
    } catch (const NewerFormatError&) {
        throw;
    } catch (const CheckpointError& fault) {
        return fault.what();
    }
}

void sweep(const fs::path& checkpoints, const fs::path& directory) {
    for (const std::string& name : directories_in(directory)) throw_away(checkpoints, directory / name);
}

// Staging directories that no live save can own once `newest` is committed.
void sweep_older_staging(const fs::path& run_dir, const CheckpointName& newest) {
    const fs::path staging = staging_of(run_dir);
    for (const std::string& entry : directories_in(staging)) {
        const auto name = CheckpointName::parse(entry.substr(0, entry.rfind('-')));
        if (!name) continue;
        const bool dead =
            name->attempt < newest.attempt || (name->attempt == newest.attempt && name->step <= newest.step);
        if (dead) throw_away(checkpoints_of(run_dir), staging / entry);
    }
}

}  // namespace

std::vector<CheckpointInfo> list_checkpoints(const fs::path& run_dir) {
    const auto rejected = rejected_names(run_dir);
    std::vector<CheckpointInfo> infos;
    for (const CheckpointName& name : scan(run_dir)) {
        if (!is_in(rejected, name.text())) infos.push_back(info_of(run_dir, name));
    }
    return infos;
}

void reject_checkpoint(const fs::path& run_dir, const CheckpointInfo& checkpoint, const std::string& reason) {
    const std::string name = last_name(checkpoint.directory);
    monitoring::log_warning("checkpoint {} is rejected: {}", name, reason);
    const nlohmann::json record = {
        {"checkpoint", name}, {"reason", reason}, {"time", fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)))}};
    // Starts with a line end, so that it does not join a line that a crash cut short.
    const std::string line =
        fmt::format("\n{}\n", record.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    monitoring::make_directories(checkpoints_of(run_dir));
    auto file = monitoring::File::open_append(rejected_file(run_dir));
    file.append(std::as_bytes(std::span(line)));
    file.sync("ckpt.reject");
    file.close();
    monitoring::sync_directory(checkpoints_of(run_dir));
}

std::optional<CheckpointInfo> newest_checkpoint(const fs::path& run_dir) {
    const auto candidates = list_checkpoints(run_dir);
    for (const CheckpointInfo& candidate : candidates) {
        const auto fault = fault_of(candidate.directory);
        if (!fault) return candidate;
        reject_checkpoint(run_dir, candidate, *fault);
    }
    const auto rejected = rejected_names(run_dir);
    if (rejected.empty() && scan(run_dir).empty()) return std::nullopt;
    throw CheckpointError(
        "no checkpoint of run '{}' can be trusted: {} were rejected (reasons in '{}'); repair one, or start over "
        "with --fresh",
        run_dir.string(), rejected.size(), rejected_file(run_dir).string());
}

void apply_retention(const fs::path& run_dir, std::uint32_t keep, const fs::path& in_use) {
    const auto rejected = rejected_names(run_dir);
    const auto names = scan(run_dir);
    if (names.empty()) return;
    std::uint32_t kept = 0;
    for (const CheckpointName& name : names) {
        const fs::path directory = checkpoints_of(run_dir) / name.text();
        if (kept < std::max(keep, kFewestKept)) {
            if (!is_in(rejected, name.text()) && !quick_fault(directory)) ++kept;
        } else if (in_use.empty() || last_name(in_use) != name.text()) {
            throw_away(checkpoints_of(run_dir), directory);
        }
    }
    sweep_older_staging(run_dir, names.front());
}

void sweep_staging(const fs::path& run_dir) {
    const fs::path checkpoints = checkpoints_of(run_dir);
    sweep(checkpoints, staging_of(run_dir));
    std::error_code error;
    if (!fs::exists(trash_of(checkpoints), error)) return;
    for (const std::string& name : directories_in(trash_of(checkpoints)))
        fs::remove_all(trash_of(checkpoints) / name, error);
    if (error) throw IoError("cannot empty '{}': {}", trash_of(checkpoints).string(), error.message());
}

}  // namespace kiban::checkpoint
