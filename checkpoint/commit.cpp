// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/commit.h"

#include <algorithm>
#include <limits>

#include "checkpoint/json_fields.h"
#include "checkpoint/manifest.h"
#include "checkpoint/publish_staged.h"
#include "checkpoint/run_layout.h"
#include "monitoring/error.h"
#include "monitoring/fault.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;

void check_is_current(const fs::path& run_dir, const CheckpointName& name, const std::function<bool()>& is_current) {
    if (is_current()) return;
    throw CheckpointError("cannot commit {}: a newer attempt than {} has taken over run '{}'; this one must stop",
                          name.text(), name.attempt, run_dir.string());
}

void check_may_commit(const fs::path& run_dir, const fs::path& staging, const CheckpointName& name) {
    const std::string staged = last_name(staging);
    if (staging.parent_path().lexically_normal() != staging_of(run_dir).lexically_normal() ||
        !staged.starts_with(name.text() + "-")) {
        throw CheckpointError("cannot commit {}: '{}' is not a staging directory of it in run '{}'", name.text(),
                              staging.string(), run_dir.string());
    }
    if (!monitoring::directory_at(staging)) {
        throw CheckpointError("cannot commit {}: staging directory '{}' is gone", name.text(), staging.string());
    }
    const fs::path target = checkpoints_of(run_dir) / name.text();
    if (monitoring::link_status_of(target).kind != monitoring::FileKind::none) {
        throw CheckpointError("cannot commit {}: '{}' exists already; save again in a new attempt", name.text(),
                              target.string());
    }
    const auto rejected = rejected_names(run_dir);
    if (std::ranges::find(rejected, name.text()) != rejected.end()) {
        throw CheckpointError("cannot commit {}: a checkpoint of that name was rejected; save again in a new attempt",
                              name.text());
    }
}

}  // namespace

fs::path begin_checkpoint(const fs::path& run_dir, std::uint64_t step, std::uint32_t attempt,
                          std::uint64_t needed_bytes) {
    const fs::path parent = staging_of(run_dir);
    monitoring::make_directories(parent);
    const std::uint64_t reserve = needed_bytes / 10;
    constexpr auto kMost = std::numeric_limits<std::uint64_t>::max();
    const std::uint64_t wanted = needed_bytes > kMost - reserve ? kMost : needed_bytes + reserve;
    const std::uint64_t free = monitoring::free_bytes(parent);
    if (free < wanted) {
        throw IoError(
            "cannot save step {}: {} bytes and 10 % are needed under '{}', {} bytes are free; make room or lower "
            "checkpoint.keep",
            step, needed_bytes, parent.string(), free);
    }
    const fs::path staging = parent / fmt::format("{}-{}", CheckpointName{step, attempt}.text(), make_nonce());
    monitoring::fault_point("ckpt.stage", staging);
    monitoring::make_directories(staging);
    return staging;
}

CheckpointInfo commit_checkpoint(const fs::path& run_dir, const fs::path& staging, std::uint64_t step,
                                 std::uint32_t attempt, const std::vector<ShardReport>& shards,
                                 const nlohmann::json& state, const std::function<bool()>& is_current,
                                 const std::optional<CurveReport>& curve) {
    return publish_staged(run_dir, staging, Manifest::of(step, attempt, shards, state, curve), is_current);
}

CheckpointInfo publish_staged(const fs::path& run_dir, const fs::path& staging, const Manifest& manifest,
                              const std::function<bool()>& is_current) {
    const CheckpointName name{manifest.step, manifest.attempt};
    check_is_current(run_dir, name, is_current);
    check_may_commit(run_dir, staging, name);
    check_files(staging, manifest.files, {});
    const std::string text = manifest.text();
    const CommitRecord record = CommitRecord::of(text, name.step, name.attempt, manifest.shard_bytes());
    monitoring::publish(staging / kManifestName, text, "ckpt.manifest");
    monitoring::publish(staging / kCommitName, encode(record), "ckpt.commit_record");
    const fs::path target = checkpoints_of(run_dir) / name.text();
    check_is_current(run_dir, name, is_current);  // publishing took its time
    monitoring::rename_durably(staging, target, "ckpt.rename");
    return {target, name.step, name.attempt, record.shard_bytes + record.manifest_bytes + kCommitBytes};
}

void abandon_checkpoint(const fs::path& staging) {
    KIBAN_CHECK(staging.parent_path().filename() == ".staging", "'{}'", staging.string());
    if (!monitoring::directory_at(staging)) return;
    throw_away(staging.parent_path().parent_path(), staging);
}

std::optional<std::string> quick_fault(const fs::path& checkpoint) {
    try {
        load_committed(checkpoint);
        return std::nullopt;
    } catch (const CheckpointError& fault) {
        return fault.what();
    } catch (const IoError& fault) {
        return fault.what();
    }
}

}  // namespace kiban::checkpoint
