// SPDX-License-Identifier: Apache-2.0
#include "tests/integration/run_test.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>

#include "coordinator/launch/process_id.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/reading_mark.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/curve.h"
#include "monitoring/file.h"

namespace kiban::testing {

void RunTest::SetUp() {
    std::string name = (std::filesystem::temp_directory_path() / "kiban-integration-XXXXXX").string();
    ASSERT_NE(::mkdtemp(name.data()), nullptr);
    dir_ = name;
    write_text();
    write_run_file();
}

void RunTest::TearDown() {
    if (HasFailure()) {
        std::fprintf(stderr, "kept for a look: %s\n", dir_.c_str());
    } else {
        std::filesystem::remove_all(dir_);
    }
}

void RunTest::write_text(const std::string& name) const {
    std::ofstream out(dir_ / name, std::ios::binary);
    for (const char* license : {"GPL-3", "GPL-2", "Apache-2.0", "MPL-2.0"}) {
        std::ifstream in(std::filesystem::path("/usr/share/common-licenses") / license, std::ios::binary);
        ASSERT_TRUE(in) << license;
        out << in.rdbuf();
    }
}

void RunTest::write_run_file() const {
    std::ofstream(dir_ / "run.toml") << R"([run]
name = "small"
dir = "run"
[data]
sequence_length = 32
[[data.sources]]
path = "text.txt"
[model]
layout = "gpt2"
layers = 2
d_model = 32
heads = 2
[train]
batch_rows = 32
micro_batch_rows = 8
steps = 300
eval_interval_steps = 100
[train.schedule]
warmup_steps = 10
[checkpoint]
interval_steps = 40
[monitoring]
listen = "127.0.0.1:0"
[launch]
workers = 1
threads_per_worker = 1
)";
}

std::unique_ptr<Process> RunTest::start(std::vector<std::string> arguments, const Process::Environment& environment) {
    arguments.insert(arguments.begin(), KIBAN_BIN_DIR "/kiban");
    std::filesystem::current_path(dir_);
    return std::make_unique<Process>(std::move(arguments), dir_ / fmt::format("output-{}", ++calls_), environment);
}

Ended RunTest::kiban(std::vector<std::string> arguments, const Process::Environment& environment) {
    const auto process = start(std::move(arguments), environment);
    const int exit_code = process->wait(kPatienceSeconds);
    return {exit_code, process->output()};
}

Ended RunTest::kiban_reading(const std::string& run, std::vector<std::string> arguments) {
    const auto process = start(std::move(arguments));
    const auto being_read = [&] { return coordinator::checkpoints_being_read(dir_ / run).size(); };
    EXPECT_TRUE(eventually(kPatienceSeconds, [&] { return being_read() == 1 || process->ended(); }));
    EXPECT_FALSE(process->ended()) << "nothing was marked: " << process->output();
    const int exit_code = process->wait(kPatienceSeconds);
    EXPECT_EQ(being_read(), 0U);
    return {exit_code, process->output()};
}

std::vector<std::string> RunTest::pretrain(const std::string& run, int workers, std::vector<std::string> more) {
    std::vector<std::string> words = {"pretrain", "run.toml", "--run-dir", run, "--workers", std::to_string(workers)};
    words.insert(words.end(), more.begin(), more.end());
    return words;
}

std::uint64_t RunTest::last_step(const std::string& run) const {
    const auto rows = monitoring::read_curve(dir_ / run / "curve").rows;
    return rows.empty() ? 0 : rows.back().step;
}

std::optional<coordinator::RunStatus> RunTest::status(const std::string& run) const {
    return coordinator::read_status(dir_ / run / "status.json");
}

bool RunTest::wait_for_step(const std::string& run, std::uint64_t step, Process& coordinator) const {
    const bool there = eventually(kPatienceSeconds, [&] { return last_step(run) >= step || coordinator.ended(); });
    EXPECT_TRUE(there && !coordinator.ended()) << "step " << step << " of " << run << " was not reached:\n"
                                               << coordinator.output();
    return there && !coordinator.ended();
}

Process::Environment RunTest::standing_still_before(const std::vector<int>& steps) {
    std::string faults;
    for (const int step : steps) faults += fmt::format("{}step.data=delay3@{}", faults.empty() ? "" : ";", step);
    return {{"KIBAN_FAULT", faults}};
}

int RunTest::worker_process(const std::string& run, int rank) const {
    const auto now = status(run);
    if (!now || (now->state != "training" && now->state != "saving")) return 0;
    const auto found = std::find_if(now->workers.begin(), now->workers.end(),
                                    [rank](const auto& worker) { return worker.rank == rank; });
    const bool there = found != now->workers.end() && coordinator::find_process(found->pid, "kiban-worker");
    return there ? found->pid : 0;  // just after an attempt the status still names it
}

int RunTest::launcher_of(int coordinator) {
    for (const std::string& name : monitoring::names_in("/proc")) {
        if (name.find_first_not_of("0123456789") != std::string::npos) continue;
        std::ifstream file("/proc/" + name + "/stat");
        int pid = 0;
        int parent = 0;
        std::string command;
        std::string state;
        const bool is_child = file >> pid >> command >> state >> parent && parent == coordinator;
        if (is_child && (command == "(mpirun)" || command == "(srun)")) return pid;
    }
    return 0;
}

std::string RunTest::csv(const std::string& run) {
    const Ended ended = kiban({"curve", run, "--csv"});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    return ended.output;
}

std::size_t RunTest::journaled(const std::string& run, const std::string& event) const {
    const auto entries = coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal());
    return static_cast<std::size_t>(std::count_if(
        entries.begin(), entries.end(), [&](const auto& entry) { return entry.value("event", "") == event; }));
}

std::uint64_t RunTest::expect_each_training_from_the_newest(const std::string& run) const {
    std::uint64_t newest = 0;
    std::uint64_t began = 0;
    for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal())) {
        const std::string event = entry.value("event", "");
        if (event == "checkpoint") newest = entry.at("step");
        if (event != "training") continue;
        began = entry.at("from_step");
        EXPECT_EQ(began, newest) << entry;
    }
    return began;
}

}  // namespace kiban::testing
