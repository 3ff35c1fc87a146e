// SPDX-License-Identifier: Apache-2.0
// Readers of checkpoints beside a live run: `kiban export` and `kiban fork` stopped and killed in the middle.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>
#include <csignal>
#include <fstream>
#include <optional>
#include <string>
#include <vector>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/config/run_file.h"
#include "coordinator/job/inventory.h"
#include "coordinator/launch/process_id.h"
#include "coordinator/run/lease.h"
#include "coordinator/run/reading_mark.h"
#include "monitoring/file.h"
#include "tests/coordinator/kiban_process.h"
#include "tests/coordinator/made_run.h"
#include "tests/support/process.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

class ReadingACheckpoint : public ::testing::Test {
  protected:
    // As its coordinator would after a commit.
    void apply_retention() const {
        checkpoint::apply_retention(made_.run_dir, {.keep = 2, .milestone_steps = 0, .in_use = [this] {
                                                        return checkpoints_being_read(made_.run_dir);
                                                    }});
    }
    std::vector<std::uint64_t> steps() const {
        std::vector<std::uint64_t> left;
        for (const auto& info : checkpoint::list_checkpoints(made_.run_dir)) left.push_back(info.step);
        return left;
    }
    std::vector<std::string> marks() const {
        auto names = monitoring::names_in(made_.run_dir / "lease");
        std::erase_if(names, [](const std::string& name) { return !name.starts_with("reader-"); });
        return names;
    }

    // A checkpoint with all parameters of the run's model, of ones; older than those that the run has.
    fs::path save_model(std::uint64_t step) const {
        auto state = checkpoint::run_state_from_json(checkpoint::CheckpointReader(made_.older_checkpoint).state());
        state.step = step;
        const RunFile file = parse_saved_run_file(state.run_file, made_.root, "the checkpoint's run file");
        const auto specs = tensor_inventory(file.model, 257, state.sequence_length);
        std::int64_t most = 0;
        for (const TensorSpec& spec : specs) most = std::max(most, spec.elements());
        const std::vector<float> ones(static_cast<std::size_t>(most), 1.0F);
        std::vector<checkpoint::TensorSlice> slices;
        for (const TensorSpec& spec : specs) {
            slices.push_back({{{spec.name, "param"}, checkpoint::DType::f32, spec.shape},
                              checkpoint::whole(spec.shape),
                              ones.data()});
        }
        const fs::path staging = checkpoint::begin_checkpoint(made_.run_dir, step, 1, 1 << 24);
        const auto report = checkpoint::write_shard(staging, 0, slices);
        return checkpoint::commit_checkpoint(made_.run_dir, staging, step, 1, {report}, checkpoint::to_json(state),
                                             [] { return true; })
            .directory;
    }

    // Started, and come to the point at which it stops itself.
    void start_and_stop(const std::vector<std::string>& arguments, const std::string& fault) {
        std::vector<std::string> words = {KIBAN_BIN_DIR "/kiban"};
        words.insert(words.end(), arguments.begin(), arguments.end());
        reader_.emplace(words, made_.root / "output", testing::Process::Environment{{"KIBAN_FAULT", fault}});
        ASSERT_TRUE(testing::eventually(60, [this] {
            const auto process = find_process(reader_->id());
            return (process && process_state(*process) == "stopped") || reader_->ended();
        }));
        ASSERT_FALSE(reader_->ended()) << reader_->output();
    }

    MadeRun made_;
    std::uint32_t attempt_ = Lease::acquire(made_.run_dir).attempt();  // a coordinator has had it
    std::optional<testing::Process> reader_;
};

using Steps = std::vector<std::uint64_t>;

TEST_F(ReadingACheckpoint, Row24AnExportKeepsItFromRetentionUntilItHasEnded) {
    const fs::path source = save_model(5);
    const fs::path out = made_.root / "exported";
    // The first write is the mark, the second the header; the model's first tensor is read by then, the others are not.
    start_and_stop({"export", source.string(), "-o", out.string()}, "file.write=stop@3");
    ASSERT_EQ(marks().size(), 1U);
    apply_retention();
    EXPECT_EQ(steps(), (Steps{20, 10, 5}));
    reader_->send(SIGCONT);
    EXPECT_EQ(reader_->wait(60), 0) << reader_->output();
    EXPECT_TRUE(fs::exists(out / "model.safetensors"));
    EXPECT_TRUE(marks().empty());
    apply_retention();
    EXPECT_EQ(steps(), (Steps{20, 10}));
}

TEST_F(ReadingACheckpoint, Row24AForkThatIsKilledKeepsItNoLonger) {
    save_model(5);
    start_and_stop({"fork", made_.run_dir.string(), "--step", "5"}, "ckpt.copy=stop");
    apply_retention();
    EXPECT_EQ(steps(), (Steps{20, 10, 5}));
    reader_->send(SIGKILL);
    EXPECT_EQ(reader_->wait(60), 128 + SIGKILL);
    EXPECT_EQ(marks().size(), 1U) << "nobody took it away";
    apply_retention();
    EXPECT_EQ(steps(), (Steps{20, 10}));
    EXPECT_TRUE(marks().empty());
}

TEST_F(ReadingACheckpoint, AReaderOnAnotherMachineCountsForTwoDays) {
    const double now = std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
    const auto mark = [&](double hours_ago) {
        std::ofstream(made_.run_dir / "lease" / "reader-elsewhere") << nlohmann::json{
            {"checkpoint", "step-000000000010-a000001"},
            {"host", "elsewhere"},
            {"pid", 1},
            {"start_ticks", 1},
            {"process_space", "another machine"},
            {"time", now - hours_ago * 3600}}.dump();
    };
    for (const double hours_ago : {-25.0, 0.0, 25.0, 47.9}) {  // a clock may be a day off
        mark(hours_ago);
        EXPECT_EQ(checkpoints_being_read(made_.run_dir), std::vector<std::string>{"step-000000000010-a000001"});
    }
    mark(48.1);
    EXPECT_TRUE(checkpoints_being_read(made_.run_dir).empty());
    EXPECT_TRUE(marks().empty()) << "it is taken away";
}

TEST_F(ReadingACheckpoint, AMarkThatIsNoneHoldsNothingUp) {
    std::ofstream(made_.run_dir / "lease" / "reader-empty");
    std::ofstream(made_.run_dir / "lease" / "reader-list") << "[1]";
    std::ofstream(made_.run_dir / "lease" / "reader-other") << R"({"pid": 1})";
    const std::string whole = R"("process_space":"x","pid":1,"start_ticks":1)";
    for (const char* field : {R"("time":"x","checkpoint":"a","host":"h")", R"("time":1,"checkpoint":1,"host":"h")",
                              R"("time":1,"checkpoint":"a","host":5)"})
        std::ofstream(made_.run_dir / "lease" / fmt::format("reader-{:x}", std::hash<std::string>{}(field)))
            << "{" << field << "," << whole << "}";
    EXPECT_TRUE(checkpoints_being_read(made_.run_dir).empty());
}

TEST_F(ReadingACheckpoint, WhatCannotBeMarkedIsReadAllTheSame) {
    const fs::path source = save_model(5);
    const fs::path out = made_.root / "exported";
    const Result result = run({{"export", source.string(), "-o", out.string()}, "", {"KIBAN_FAULT=reader.mark=eio"}});
    EXPECT_EQ(result.exit_code, 0) << result.err;
    EXPECT_TRUE(contains(result.out + result.err, "a live run may delete '" + fs::canonical(source).string()))
        << result.out;
    EXPECT_TRUE(marks().empty());
    // No coordinator ever had this one, and what is not there is told by who reads it.
    fs::remove_all(made_.run_dir / "lease");
    { const ReadingMark unused(made_.newest_checkpoint); }
    { const ReadingMark unused(made_.run_dir / "ckpt" / "step-000000000099-a000001"); }
    EXPECT_FALSE(fs::exists(made_.run_dir / "lease"));
}

}  // namespace
}  // namespace kiban::coordinator
