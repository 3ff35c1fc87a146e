// SPDX-License-Identifier: Apache-2.0
// SIGKILL at random moments of a coordinator and its two writer processes that save without pause on a real file
// system: KIBAN_KILLS times, 50 in the suite and more than 1000 in the soak.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <chrono>
#include <csignal>
#include <fstream>
#include <random>
#include <sstream>
#include <thread>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using testing::Scratch;
using testing::tiny_model;

// The whole job at once, the coordinator alone (its writers go on as orphans), or one writer and then the coordinator.
enum class Victim { group, coordinator, writer };

pid_t start_conductor(const fs::path& run_dir, std::uint64_t first_step, std::uint32_t attempt) {
    const std::string step = std::to_string(first_step);
    const std::string number = std::to_string(attempt);
    const pid_t child = ::fork();
    if (child == 0) {
        ::setpgid(0, 0);
        ::execl(KIBAN_CHECKPOINT_CHILD, "checkpoint_child", "conduct", run_dir.c_str(), step.c_str(), number.c_str(),
                nullptr);
        ::_exit(127);
    }
    if (child > 0) ::setpgid(child, child);  // also here: whoever comes first
    return child;
}

std::vector<pid_t> writers_of(pid_t conductor) {
    std::ifstream children(fmt::format("/proc/{}/task/{}/children", conductor, conductor));
    std::vector<pid_t> found;
    for (pid_t child = 0; children >> child;) found.push_back(child);
    return found;
}

void linger(std::uint64_t microseconds) { std::this_thread::sleep_for(std::chrono::microseconds(microseconds)); }

// Returns how many processes were killed.
int kill_some(pid_t conductor, Victim victim, std::mt19937_64& engine) {
    int kills = 1;
    if (victim == Victim::writer) {
        const auto writers = writers_of(conductor);
        if (!writers.empty() && ::kill(writers[engine() % writers.size()], SIGKILL) == 0) ++kills;
        linger(engine() % 10000);
    }
    ::kill(victim == Victim::group ? -conductor : conductor, SIGKILL);
    int status = 0;
    EXPECT_EQ(::waitpid(conductor, &status, 0), conductor);
    EXPECT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
    return kills;
}

// The last step of which the conductor knew that it was durable; 0 before the first.
std::uint64_t last_heard(const fs::path& run_dir) {
    std::istringstream text(monitoring::read_text_if_exists(run_dir / "heard").value_or(""));
    std::uint64_t last = 0;
    for (std::uint64_t step = 0; text >> step;) last = step;
    return last;
}

// What a resume would read.
void expect_right(const CheckpointInfo& info, const std::string& what) {
    ASSERT_EQ(verify_checkpoint(info.directory).faults, std::vector<std::string>{}) << what;
    const CheckpointReader reader(info.directory);
    EXPECT_EQ(reader.step(), info.step) << what;
    EXPECT_EQ(testing::wrong_tensors(reader, tiny_model(), testing::first_dim_layout, 3), std::vector<std::string>{})
        << what;
    const auto curve = read_curve_of(info.directory);
    ASSERT_TRUE(curve) << what;
    EXPECT_EQ(testing::curve_text(*curve), testing::curve_text(testing::curve_rows(info.step))) << what;
}

TEST(Kills, OfCoordinatorAndWritersAtRandomMomentsLoseNothingCommitted) {
    const Scratch scratch;
    testing::write_checkpoint({scratch.path(), 0, 1, 2, testing::flat_layout, tiny_model()});
    std::mt19937_64 engine(11);
    std::uint64_t last = 0;
    int kills = 0;
    int without_progress = 0;
    std::array<int, 3> by_victim{};
    for (std::uint32_t attempt = 2; kills < KIBAN_KILLS; ++attempt) {
        const pid_t conductor = start_conductor(scratch.path(), last + 1, attempt);
        ASSERT_GT(conductor, 0);
        // Every third one is let live until it has committed, however slow the machine is.
        const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(attempt % 3 == 0 ? 60 : 0);
        while (last_heard(scratch.path()) <= last && std::chrono::steady_clock::now() < patience) linger(1000);
        linger(engine() % 40000);
        const auto victim = static_cast<Victim>(engine() % 3);
        ++by_victim[static_cast<std::size_t>(victim)];
        kills += kill_some(conductor, victim, engine);

        const std::string what = fmt::format("attempt {}", attempt);
        const auto newest = newest_checkpoint(scratch.path());
        ASSERT_TRUE(newest) << what;
        ASSERT_GE(newest->step, last_heard(scratch.path())) << what;  // what was known to be durable is there
        ASSERT_GE(newest->step, last) << what;
        without_progress += newest->step == last ? 1 : 0;
        last = newest->step;
        expect_right(*newest, what);
        const auto all = list_checkpoints(scratch.path());
        ASSERT_GE(all.size(), last > 0 ? 2U : 1U) << what;
        if (all.size() > 1) expect_right(all[1], what);
        ASSERT_FALSE(fs::exists(scratch.path() / "ckpt" / "rejected.jsonl")) << what;
        if (HasFatalFailure()) return;
    }
    for (const int count : by_victim) EXPECT_GT(count, 0);
    EXPECT_GT(last, static_cast<std::uint64_t>(KIBAN_KILLS) / 5);
    RecordProperty("kills", kills);
    RecordProperty("commits", static_cast<int>(last));
    RecordProperty("attempts_without_a_commit", without_progress);
}

}  // namespace
}  // namespace kiban::checkpoint
