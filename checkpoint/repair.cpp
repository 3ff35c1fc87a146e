// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/repair.h"

#include <algorithm>

#include "checkpoint/reader.h"
#include "checkpoint/run_layout.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;

bool is_of_newer_format(const fs::path& checkpoint) {
    try {
        load_committed(checkpoint, FileCheck::none);
        return false;
    } catch (const NewerFormatError&) {
        return true;
    } catch (const Error&) {
        return false;
    }
}

// All directories with a checkpoint's name, newest first.
std::vector<CheckpointInfo> all_checkpoints(const fs::path& run_dir) {
    std::vector<CheckpointInfo> infos;
    for (const std::string& entry : directories_in(checkpoints_of(run_dir))) {
        if (const auto name = CheckpointName::parse(entry))
            infos.push_back({checkpoints_of(run_dir) / entry, name->step, name->attempt, 0});
    }
    std::ranges::sort(infos, [](const CheckpointInfo& a, const CheckpointInfo& b) {
        return CheckpointName{a.step, a.attempt} > CheckpointName{b.step, b.attempt};
    });
    return infos;
}

void move_aside(const fs::path& run_dir, DamagedCheckpoint& damaged, bool rejected) {
    const std::string name = last_name(damaged.checkpoint.directory);
    const fs::path to = checkpoints_of(run_dir) / ".damaged" / fmt::format("{}.{}", name, make_nonce());
    monitoring::make_directories(to.parent_path());
    if (!rejected) reject_checkpoint(run_dir, damaged.checkpoint, damaged.faults.front());
    monitoring::rename_durably(damaged.checkpoint.directory, to, "ckpt.repair");
    damaged.moved_to = to;
}

}  // namespace

RepairResult repair_checkpoints(const fs::path& run_dir, bool drop) {
    const auto rejected = rejected_names(run_dir);
    const auto was_rejected = [&](const CheckpointInfo& info) {
        return std::ranges::find(rejected, last_name(info.directory)) != rejected.end();
    };
    RepairResult result;
    for (const CheckpointInfo& info : all_checkpoints(run_dir)) {
        VerifyResult verified = verify_checkpoint(info.directory);
        if (!monitoring::anything_at(info.directory)) continue;  // removed meanwhile, by a live run
        if (verified.unreadable) {
            result.unreadable.push_back({info, std::move(verified.faults), {}});
        } else if (!verified.faults.empty() && !is_of_newer_format(info.directory)) {
            result.damaged.push_back({info, std::move(verified.faults), {}});
        } else if (!was_rejected(info)) {
            result.sound.push_back(info);
        }
    }
    if (!drop || result.sound.empty()) return result;
    for (DamagedCheckpoint& damaged : result.damaged) move_aside(run_dir, damaged, was_rejected(damaged.checkpoint));
    return result;
}

}  // namespace kiban::checkpoint
