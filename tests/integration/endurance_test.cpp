// SPDX-License-Identifier: Apache-2.0
// Row 29 of the fault matrix: a random worker of four is killed about every minute, for half an hour. Soak, by name:
//
//   ctest -R integration_endurance      KIBAN_SOAK_SECONDS and KIBAN_SOAK_MEAN_SECONDS change how long and how often
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <fstream>
#include <random>
#include <thread>

#include "monitoring/curve.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_from(const char* variable, double otherwise) {
    const char* text = std::getenv(variable);
    return text != nullptr ? std::stod(text) : otherwise;
}

constexpr double kSurelyForward = 30;  // seconds undisturbed, in which a run makes good what a kill cost, and more

double since(Clock::time_point from) { return std::chrono::duration<double>(Clock::now() - from).count(); }

struct Footprint {  // of the coordinator and its run
    std::uint64_t resident_kib = 0;
    std::size_t descriptors = 0;
    std::size_t threads = 0;
    std::size_t processes = 0;  // whose run directory this is
    std::size_t staged = 0;     // checkpoints begun and not ended
};

// The curve is kept in memory: a step adds its row.
void expect_no_leak(const Footprint& early, const Footprint& late) {
    EXPECT_LE(late.descriptors, early.descriptors + 4);
    EXPECT_LE(late.threads, early.threads + 1);
    EXPECT_LE(late.processes, early.processes);
    EXPECT_LE(late.staged, 2u);
    EXPECT_LE(late.resident_kib, early.resident_kib + early.resident_kib / 4 + 32 * 1024);
}

class Endurance : public RunTest {
  protected:
    Footprint footprint(int coordinator, const std::string& run) const {
        Footprint found;
        const std::string process = fmt::format("/proc/{}", coordinator);
        std::ifstream status(process + "/status");
        for (std::string line; std::getline(status, line);) {
            if (line.starts_with("VmRSS:")) found.resident_kib = std::stoull(line.substr(6));
            if (line.starts_with("Threads:")) found.threads = std::stoull(line.substr(8));
        }
        found.descriptors = monitoring::names_in(process + "/fd").size();
        for (const std::string& name : monitoring::names_in("/proc")) {
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            std::ifstream variables("/proc/" + name + "/environ", std::ios::binary);
            const std::string text((std::istreambuf_iterator<char>(variables)), std::istreambuf_iterator<char>());
            if (contains(text, "KIBAN_RUN_DIR=" + (dir_ / run).string())) ++found.processes;
        }
        const auto staging = dir_ / run / "ckpt" / ".staging";
        if (monitoring::directory_at(staging)) found.staged = monitoring::names_in(staging).size();
        return found;
    }

    // The share of the time that went into steps which are part of the surviving history.
    double effective_share(const std::string& run, double elapsed) const {
        double useful = 0;
        for (const auto& row : monitoring::read_curve(dir_ / run / "curve").rows) useful += row.step_seconds;
        return useful / elapsed;
    }
};

TEST_F(Endurance, Row29ARandomWorkerKilledEachMinuteNeitherStopsTheRunNorMakesItLeak) {
    const double length = seconds_from("KIBAN_SOAK_SECONDS", 1800);
    const double mean = seconds_from("KIBAN_SOAK_MEAN_SECONDS", 60);
    const unsigned seed = std::random_device()();
    SCOPED_TRACE(fmt::format("seed {}", seed));
    std::mt19937 random(seed);
    std::exponential_distribution<double> pause(1 / mean);
    const auto run = start(pretrain("run", 4,
                                    {"--set", "train.steps=100000000", "--set", "checkpoint.interval_steps=auto",
                                     "--set", "model.d_model=128", "--set", "checkpoint.hours_between_failures=0.02"}));
    ASSERT_TRUE(wait_for_step("run", 20, *run));
    const Clock::time_point began = Clock::now();
    Footprint early;
    std::uint64_t step = last_step("run");
    std::uint64_t durable = status("run")->checkpoint_step;
    Clock::time_point recovered = Clock::now();
    double slowest_recovery = 0;
    int kills = 0;
    for (double next = pause(random); since(began) < length; next = pause(random)) {
        std::this_thread::sleep_for(std::chrono::duration<double>(std::min(next, length - since(began))));
        if (since(began) >= length) break;
        int victim = 0;
        ASSERT_TRUE(
            eventually(60, [&] { return (victim = worker_process("run", static_cast<int>(random() % 4))) != 0; }));
        const auto before = status("run");
        const std::uint32_t attempt = before->attempt;
        if (since(recovered) > kSurelyForward) {
            EXPECT_GT(last_step("run"), step) << "after kill " << kills;
        }
        EXPECT_GE(before->checkpoint_step, durable) << "after kill " << kills;
        step = last_step("run");
        durable = before->checkpoint_step;
        const Clock::time_point killed = Clock::now();
        ::kill(victim, SIGKILL);
        ++kills;
        ASSERT_TRUE(eventually(120, [&] {
            const auto now = status("run");
            return (now && now->attempt > attempt && worker_process("run", 0) != 0) || run->ended();
        })) << run->output();
        ASSERT_FALSE(run->ended()) << run->output();
        slowest_recovery = std::max(slowest_recovery, since(killed));
        recovered = Clock::now();
        if (kills == 3) early = footprint(run->id(), "run");
    }
    const double elapsed = since(began);
    ASSERT_TRUE(wait_for_step("run", last_step("run") + 20, *run));
    const Footprint late = footprint(run->id(), "run");
    const double share = effective_share("run", elapsed);
    fmt::print(
        "{} kills in {:.0f} s, {} steps, {:.1f} % of the time effective, slowest recovery {:.1f} s; resident {} -> "
        "{} KiB, descriptors {} -> {}, threads {} -> {}, processes {} -> {}\n",
        kills, elapsed, last_step("run"), 100 * share, slowest_recovery, early.resident_kib, late.resident_kib,
        early.descriptors, late.descriptors, early.threads, late.threads, early.processes, late.processes);
    EXPECT_GE(share, 0.7);
    EXPECT_LE(slowest_recovery, 30);
    if (kills >= 3) expect_no_leak(early, late);
    run->send(SIGTERM);
    EXPECT_EQ(run->wait(kPatienceSeconds), 75) << run->output();
    EXPECT_EQ(kiban({"verify", "run"}).exit_code, 0);
}

// With the defaults, and a model of about ten million parameters. From a crash to the first new step it takes at most
// thirty seconds. A hang may take as long until it is noticed, so that its thirty seconds begin there.
TEST_F(Endurance, ACrashIsNoticedWithinFiveSecondsAHangWithinThirtyAndTheNextStepComesWithinThirty) {
    const auto run = start(pretrain("run", 2,
                                    {"--set", "train.steps=100000000", "--set", "model.d_model=384", "--set",
                                     "model.layers=6", "--set", "model.heads=6", "--set", "train.batch_rows=4", "--set",
                                     "train.micro_batch_rows=2", "--set", "checkpoint.interval_steps=10"}));
    for (const int signal : {SIGKILL, SIGSTOP}) {
        ASSERT_TRUE(wait_for_step("run", last_step("run") + 25, *run));
        int victim = 0;
        ASSERT_TRUE(eventually(60, [&] { return (victim = worker_process("run", 1)) != 0; }));
        const std::uint32_t attempt = status("run")->attempt;
        const std::size_t ends = journaled("run", "attempt_ended");
        const std::size_t hangs = journaled("run", "hang");
        const Clock::time_point fault = Clock::now();
        ::kill(victim, signal);
        ASSERT_TRUE(eventually(90, [&] { return journaled("run", "attempt_ended") > ends; })) << run->output();
        const double ended = since(fault);
        EXPECT_EQ(journaled("run", "hang"), hangs + (signal == SIGSTOP ? 1 : 0));
        ASSERT_TRUE(eventually(90, [&] {
            const auto now = status("run");
            const auto rows = monitoring::read_curve(dir_ / "run" / "curve").rows;
            return now && now->attempt > attempt && !rows.empty() && rows.back().attempt > attempt;
        })) << run->output();
        const double stepped = since(fault);
        fmt::print("{}: the attempt had ended after {:.1f} s, the next one's first step was done after {:.1f} s\n",
                   signal == SIGKILL ? "killed" : "stopped", ended, stepped);
        EXPECT_LE(ended, signal == SIGKILL ? 5 : 30);
        EXPECT_LE(signal == SIGKILL ? stepped : stepped - ended, 30);
    }
    run->send(SIGTERM);
    EXPECT_EQ(run->wait(kPatienceSeconds), 75) << run->output();
}

}  // namespace
}  // namespace kiban::testing
