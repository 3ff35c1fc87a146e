// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <map>
#include <set>

#include "checkpoint/commit.h"
#include "checkpoint/run_layout.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;

constexpr std::uint32_t kFewestKept = 2;  // the newest may turn out to be damaged

bool is_in(const std::vector<std::string>& names, const std::string& name) {
    return std::ranges::find(names, name) != names.end();
}

std::vector<std::string> names_in_use(const RetentionRule& rule) {
    return rule.in_use ? rule.in_use() : std::vector<std::string>{};
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

// For deleting: what cannot be read now, or only by a newer Kiban, may be the best there is.
enum class Soundness { sound, damaged, unknown };

Soundness soundness_of(const fs::path& checkpoint) {
    try {
        return fault_of(checkpoint) ? Soundness::damaged : Soundness::sound;
    } catch (const Error&) {
        return Soundness::unknown;
    }
}

void sweep(const fs::path& checkpoints, const fs::path& directory) {
    for (const std::string& name : directories_in(directory)) throw_away(checkpoints, directory / name);
}

// The names that a rule keeps, of all names there are, newest first.
std::set<std::string> kept_names(const fs::path& run_dir, const std::vector<CheckpointName>& names,
                                 const RetentionRule& rule) {
    const auto rejected = rejected_names(run_dir);
    const auto promoted = promoted_checkpoints(run_dir);
    const auto pinned = pinned_checkpoints(run_dir);
    std::set<std::string> kept(pinned.begin(), pinned.end());
    for (const std::string& name : names_in_use(rule)) kept.insert(name);
    std::uint32_t newest = 0;
    int proven = 0;  // 1: the newest promoted one is found, 2: the one before it too
    std::map<std::uint64_t, std::string> milestones;
    for (const CheckpointName& name : names) {
        const std::string text = name.text();
        const bool among_newest = newest < std::max(rule.keep, kFewestKept);
        if (among_newest) kept.insert(text);  // damaged ones among them stay, and do not count
        const bool wanted = among_newest || proven < 2 || rule.milestone_steps > 0;
        if (!wanted || is_in(rejected, text)) continue;
        const Soundness soundness = soundness_of(checkpoints_of(run_dir) / text);
        if (soundness == Soundness::unknown) kept.insert(text);
        if (soundness != Soundness::sound) continue;
        if (among_newest) ++newest;
        if (proven == 1 || (proven == 0 && is_in(promoted, text))) {
            kept.insert(text);
            ++proven;
        }
        if (rule.milestone_steps > 0 && name.step >= rule.milestone_steps)
            milestones[name.step / rule.milestone_steps] = text;  // the last one seen is the oldest
    }
    for (const auto& [number, text] : milestones) kept.insert(text);
    return kept;
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
    append_record(rejected_file(run_dir), name, {{"reason", reason}}, "ckpt.reject");
}

std::optional<CheckpointInfo> newest_checkpoint(
    const fs::path& run_dir, const std::function<void(const CheckpointInfo&, const std::string&)>& on_rejected) {
    const auto candidates = list_checkpoints(run_dir);
    for (const CheckpointInfo& candidate : candidates) {
        const auto fault = fault_of(candidate.directory);
        if (!fault) return candidate;
        reject_checkpoint(run_dir, candidate, *fault);
        if (on_rejected) on_rejected(candidate, *fault);
    }
    const auto rejected = rejected_names(run_dir);
    if (rejected.empty() && scan(run_dir).empty()) return std::nullopt;
    throw CheckpointError(
        "no checkpoint of run '{}' can be trusted: {} were rejected (reasons in '{}'); repair one, or start over "
        "with --fresh",
        run_dir.string(), rejected.size(), rejected_file(run_dir).string());
}

void apply_retention(const fs::path& run_dir, std::uint32_t keep) {
    apply_retention(run_dir, RetentionRule{.keep = keep});
}

void apply_retention(const fs::path& run_dir, const RetentionRule& rule) {
    const auto names = scan(run_dir);
    if (names.empty()) return;
    const std::set<std::string> kept = kept_names(run_dir, names, rule);
    for (const CheckpointName& name : names) {
        const std::string text = name.text();
        if (kept.contains(text)) continue;
        throw_away_unless(checkpoints_of(run_dir), checkpoints_of(run_dir) / text, [&] {  // since then
            return is_in(pinned_checkpoints(run_dir), text) || is_in(names_in_use(rule), text);
        });
    }
    sweep_older_staging(run_dir, names.front());
}

void promote_checkpoint(const fs::path& run_dir, const CheckpointInfo& checkpoint, std::uint64_t healthy_steps) {
    append_record(promoted_file(run_dir), last_name(checkpoint.directory),
                  {{"step", checkpoint.step}, {"healthy_steps", healthy_steps}}, "ckpt.promote");
}

void pin_checkpoint(const fs::path& run_dir, const CheckpointInfo& checkpoint, bool pinned) {
    append_record(pinned_file(run_dir), last_name(checkpoint.directory), {{"pinned", pinned}}, "ckpt.pin");
    // A live run may have deleted it just before it could see the pin.
    if (pinned && !monitoring::directory_at(checkpoint.directory))
        throw CheckpointError("cannot pin '{}': it is not there any more", checkpoint.directory.string());
}

std::vector<std::string> promoted_checkpoints(const fs::path& run_dir) {
    std::vector<std::string> names;
    for (const nlohmann::json& record : read_records(promoted_file(run_dir))) names.push_back(record["checkpoint"]);
    return names;
}

std::vector<std::string> pinned_checkpoints(const fs::path& run_dir) {
    std::vector<std::string> names;
    for (const nlohmann::json& record : read_records(pinned_file(run_dir))) {
        const std::string name = record["checkpoint"];
        std::erase(names, name);  // the last word counts
        if (record.value("pinned", nlohmann::json(true)) != false) names.push_back(name);
    }
    return names;
}

void sweep_staging(const fs::path& run_dir) {
    const fs::path checkpoints = checkpoints_of(run_dir);
    sweep(checkpoints, staging_of(run_dir));
    for (const std::string& name : directories_in(trash_of(checkpoints))) {
        try {
            monitoring::remove_tree(trash_of(checkpoints) / name);
        } catch (const IoError& error) {  // on NFS somebody may have a file of it open; no attempt fails of that
            monitoring::log_warning("what was thrown away stays for now: {}", error.what());
        }
    }
}

}  // namespace kiban::checkpoint
