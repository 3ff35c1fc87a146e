// SPDX-License-Identifier: Apache-2.0
// Loss of power after every operation of saves, commits, retention and rejection, on a file system that forgets what
// was not synced: for each disk that may be left, the recovery rule holds. Each rule is shown to be breakable.
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "checkpoint/commit.h"
#include "checkpoint/manifest.h"
#include "checkpoint/reader.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"
#include "tests/support/model_file_system.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using kiban::testing::describe;
using kiban::testing::FileOperation;
using kiban::testing::FileTree;
using kiban::testing::for_each_disk_after_crash;
using kiban::testing::ModelFileSystem;
using kiban::testing::Trace;
using Kind = FileOperation::Kind;

const fs::path kRun = "/run";
constexpr std::size_t kMostDisks = 64;  // after one operation

std::string name_of(std::uint64_t step, std::uint32_t attempt) { return CheckpointName{step, attempt}.text(); }

// One save as the coordinator does it: the curve is durable before the commit.
void save(ModelFileSystem& files, monitoring::CurveWriter& curve, std::uint64_t step, std::uint32_t attempt) {
    const std::string name = name_of(step, attempt);
    const auto rows = testing::curve_rows(step);
    for (std::size_t i = curve.rows().size(); i < rows.size(); ++i) curve.append(rows[i]);
    files.note("saving " + name);
    curve.sync();
    testing::write_checkpoint({kRun, step, attempt, 2, testing::flat_layout, testing::tiny_model()});
    files.note("committed " + name);
    apply_retention(kRun, 2);
}

// Two attempts: saves, retention, a rejection and the save of the same step again.
Trace recorded_run() {
    ModelFileSystem files;
    const monitoring::FileSystemInUse in_use(files);
    {
        monitoring::CurveWriter curve(kRun / "curve");
        curve.begin_attempt(1, 0);
        for (const std::uint64_t step : {0U, 2U, 4U}) save(files, curve, step, 1);
    }
    files.note("rejecting " + name_of(4, 1));
    reject_checkpoint(kRun, list_checkpoints(kRun).front(), "a test");
    files.note("rejected " + name_of(4, 1));
    sweep_staging(kRun);
    monitoring::CurveWriter curve(kRun / "curve");
    curve.begin_attempt(2, 2);
    save(files, curve, 4, 2);
    return files.trace();
}

// What the notes of a prefix say must be so.
struct Known {
    std::vector<std::string> committed;  // the two newest, in order, without rejected ones: they must be there
    std::set<std::string> undecided;     // being committed or rejected
};

Known known_after(const Trace& trace, std::size_t operations) {
    Known known;
    for (std::size_t i = 0; i < operations; ++i) {
        if (trace[i].kind != Kind::note) continue;
        const std::string name = trace[i].text.substr(trace[i].text.find(' ') + 1);
        if (trace[i].text.starts_with("committed")) known.committed.push_back(name);
        if (known.committed.size() > 2) known.committed.erase(known.committed.begin());  // retention may take it
        if (trace[i].text.starts_with("rejecting")) std::erase(known.committed, name);
        if (trace[i].text.starts_with("saving") || trace[i].text.starts_with("rejecting")) {
            known.undecided.insert(name);
        } else {
            known.undecided.erase(name);
        }
    }
    return known;
}

std::string fault_of_checkpoint(const fs::path& directory) {
    const auto faults = verify_checkpoint(directory).faults;
    if (!faults.empty()) return faults.front();
    const CheckpointReader reader(directory);
    const auto wrong = testing::wrong_tensors(reader, testing::tiny_model(), testing::flat_layout, 1);
    if (!wrong.empty()) return "wrong elements in " + wrong.front();
    const auto curve = read_curve_of(directory);
    if (!curve || testing::curve_text(*curve) != testing::curve_text(testing::curve_rows(reader.step())))
        return "another curve";
    return "";
}

// Empty when the recovery rule holds on this disk.
std::string violation(const FileTree& disk, const Known& known) {
    ModelFileSystem files(disk);
    const monitoring::FileSystemInUse in_use(files);
    const auto newest = newest_checkpoint(kRun);
    if (!newest) return known.committed.empty() ? "" : "no checkpoint, though " + known.committed.back() + " was there";
    const std::string name = newest->directory.filename().string();
    if (!known.undecided.contains(name) && (known.committed.empty() || name != known.committed.back()))
        return "the newest is " + name;
    std::vector<std::string> names = known.committed;
    names.push_back(name);
    for (const std::string& one : names) {
        const std::string fault = fault_of_checkpoint(kRun / "ckpt" / one);
        if (!fault.empty()) return one + ": " + fault;
    }
    const auto curve = monitoring::read_curve(kRun / "curve");
    if (newest->step > (curve.rows.empty() ? 0 : curve.rows.back().step)) return "the curve lags behind " + name;
    const int rejects = disk.find(kRun / "ckpt" / "rejected.jsonl");
    if (monitoring::status_of(kRun / "ckpt" / "rejected.jsonl").bytes !=
        (rejects == 0 ? 0 : disk.nodes.at(rejects).content.size())) {
        return "something was rejected";
    }
    sweep_staging(kRun);
    for (const char* place : {".staging", ".trash"}) {
        const fs::path directory = kRun / "ckpt" / place;
        if (monitoring::anything_at(directory) && !monitoring::names_in(directory).empty())
            return std::string("garbage stays in ") + place;
    }
    return newest_checkpoint(kRun)->directory == newest->directory ? "" : "the sweep changed the newest";
}

struct Enumeration {
    std::size_t disks = 0;
    std::vector<std::string> violations;
};

Enumeration enumerate(const Trace& trace, std::size_t stop_after = 1000, std::size_t first = 0,
                      std::size_t last = std::string::npos) {
    Enumeration result;
    for (std::size_t operations = first; operations <= std::min(last, trace.size()); ++operations) {
        const Known known = known_after(trace, operations);
        result.disks += for_each_disk_after_crash(trace, operations, kMostDisks, [&](const FileTree& disk) {
            if (result.violations.size() >= stop_after) return;
            std::string found;
            try {
                found = violation(disk, known);
            } catch (const Error& error) {
                found = error.what();
            }
            if (found.empty()) return;
            const std::string latest = operations == 0 ? "nothing" : describe(trace[operations - 1]);
            result.violations.push_back("after " + std::to_string(operations) + " operations, " + latest + ": " +
                                        found);
        });
        if (result.violations.size() >= stop_after) break;
    }
    return result;
}

TEST(Crash, AfterAnyOperationLeavesTheOldOrTheNewCheckpointWholeAndLosesNothingCommitted) {
    const Trace trace = recorded_run();
    const auto syncs = std::ranges::count_if(
        trace, [](const auto& one) { return one.kind == Kind::sync || one.kind == Kind::sync_directory; });
    EXPECT_GT(trace.size(), 150U);
    EXPECT_GT(syncs, 40);
    const Enumeration found = enumerate(trace);
    EXPECT_GT(found.disks, 2000U);
    EXPECT_EQ(found.violations, std::vector<std::string>{});
    RecordProperty("operations", static_cast<int>(trace.size()));
    RecordProperty("disks", static_cast<int>(found.disks));
}

Trace without(const Trace& trace, const std::function<bool(const FileOperation&)>& dropped) {
    Trace rest;
    std::ranges::remove_copy_if(trace, std::back_inserter(rest), dropped);
    return rest;
}

TEST(Crash, IsNoticedWhenDirectoriesAreNotSynced) {
    const Trace trace = recorded_run();
    EXPECT_FALSE(enumerate(without(trace, [](const auto& one) { return one.kind == Kind::sync_directory; }), 1)
                     .violations.empty());
}

TEST(Crash, IsNoticedWhenFilesAreNotSynced) {
    const Trace trace = recorded_run();
    EXPECT_FALSE(
        enumerate(without(trace, [](const auto& one) { return one.kind == Kind::sync; }), 1).violations.empty());
}

// The position of the first operation of a kind whose text holds `part`, after `from`.
std::size_t position(const Trace& trace, Kind kind, const std::string& part, std::size_t from = 0) {
    for (std::size_t i = from; i < trace.size(); ++i) {
        if (trace[i].kind == kind && trace[i].text.find(part) != std::string::npos) return i;
    }
    throw InternalError("the trace has no such operation: {}", part);
}

TEST(Crash, IsNoticedWhenASingleSyncOfACommitIsLeftOut) {
    const Trace trace = recorded_run();
    const std::size_t saving = position(trace, Kind::note, "saving " + name_of(2, 1));
    const std::size_t committed = position(trace, Kind::note, "committed " + name_of(2, 1));
    std::size_t needed = 0;
    for (std::size_t i = saving; i < committed; ++i) {
        if (trace[i].kind != Kind::sync && trace[i].kind != Kind::sync_directory) continue;
        Trace broken = trace;
        broken.erase(broken.begin() + static_cast<std::ptrdiff_t>(i));
        if (!enumerate(broken, 1, i, committed + 12).violations.empty()) ++needed;
    }
    // Those of the run's curve, of two shards, of the curve, the manifest and the record, of their names, and of the
    // final name.
    EXPECT_GE(needed, 7U);
}

TEST(Crash, IsNoticedWhenTheRenameComesBeforeTheRecord) {
    Trace trace = recorded_run();
    const std::size_t saving = position(trace, Kind::note, "saving " + name_of(2, 1));
    const std::size_t record = position(trace, Kind::move, "COMMIT", saving);
    const std::size_t rename = position(trace, Kind::move, "ckpt/" + name_of(2, 1), record + 1);
    std::rotate(trace.begin() + static_cast<std::ptrdiff_t>(record),
                trace.begin() + static_cast<std::ptrdiff_t>(rename),
                trace.begin() + static_cast<std::ptrdiff_t>(rename) + 1);
    EXPECT_FALSE(enumerate(trace, 1).violations.empty());
}

TEST(Crash, IsNoticedWhenRetentionRunsBeforeTheCommit) {
    Trace trace = recorded_run();
    const std::size_t saving = position(trace, Kind::note, "saving " + name_of(4, 1));
    const std::size_t trashed = position(trace, Kind::move, ".trash", saving);
    const std::size_t rename = position(trace, Kind::move, "ckpt/" + name_of(4, 1), saving);
    const FileOperation early = trace[trashed];
    trace.erase(trace.begin() + static_cast<std::ptrdiff_t>(trashed));
    trace.insert(trace.begin() + static_cast<std::ptrdiff_t>(rename), early);
    EXPECT_FALSE(enumerate(trace, 1).violations.empty());
}

}  // namespace
}  // namespace kiban::checkpoint
