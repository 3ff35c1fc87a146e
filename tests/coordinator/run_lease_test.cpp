// SPDX-License-Identifier: Apache-2.0
// The lease of a run: who owns it, who may take it, and who hears of that.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <csignal>
#include <fstream>
#include <optional>
#include <thread>

#include "coordinator/launch/process_id.h"
#include "coordinator/run/lease.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/monitoring/temp_directory.h"
#include "tests/support/process.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;
using testing::eventually;

class LeaseTest : public ::testing::Test {
  protected:
    // A lease as another process would have left it.
    void leave_lease(std::uint32_t epoch, const json& owner, const char* beat) const {
        std::filesystem::create_directories(dir_ / "lease");
        std::ofstream(dir_ / "lease" / fmt::format("epoch-{:06}", epoch)) << owner.dump();
        if (beat != nullptr) std::ofstream(dir_ / "lease" / fmt::format("epoch-{:06}.beat", epoch)) << beat;
    }
    static json owner(const ProcessId& process, const std::string& space) {
        return {{"host", "elsewhere"},
                {"pid", process.pid},
                {"start_ticks", process.start_ticks},
                {"process_space", space}};
    }
    static constexpr LeaseTiming kQuick{.renew_seconds = 0.05, .wait_seconds = 0.4};
    // Longer than a slow disk takes for a claim, shorter than an owner elsewhere is waited for.
    static constexpr std::chrono::seconds kLongerThanADisk{12};

    const monitoring::TempDirectory directory_;
    const std::filesystem::path& dir_ = directory_.path();
};

TEST_F(LeaseTest, TheFirstAttemptIsOneAndEachNextIsHigher) {
    Lease lease = Lease::acquire(dir_);
    EXPECT_EQ(lease.attempt(), 1u);
    EXPECT_EQ(lease.next_attempt(), 2u);
    EXPECT_EQ(lease.attempt(), 2u);
    EXPECT_TRUE(lease.is_current());
}

TEST_F(LeaseTest, Row17ASecondLiveRunIsRefusedNamingTheOwner) {
    const Lease lease = Lease::acquire(dir_);
    try {
        Lease::acquire(dir_);
        FAIL() << "two owners";
    } catch (const ConfigError& error) {
        const std::string message = error.what();
        EXPECT_NE(message.find("in use by a live coordinator: process " + std::to_string(::getpid())),
                  std::string::npos)
            << message;
        EXPECT_NE(message.find("(attempt 1)"), std::string::npos) << message;
        EXPECT_NE(message.find("take the run from it with 'kiban pretrain --take-over'"), std::string::npos) << message;
    }
}

TEST_F(LeaseTest, AProcessThatReleasedItsLeaseMayTakeItAgain) {
    { const Lease lease = Lease::acquire(dir_); }
    EXPECT_EQ(Lease::acquire(dir_).attempt(), 2u);
}

TEST_F(LeaseTest, ADeadOwnerOnTheSameMachineIsKnownAtOnce) {
    const pid_t child = ::fork();
    if (child == 0) {
        const Lease lease = Lease::acquire(dir_);
        ::kill(::getpid(), SIGKILL);
    }
    ::waitpid(child, nullptr, 0);
    EXPECT_EQ(lease_owner(dir_).pid, child);
    EXPECT_FALSE(lease_owner(dir_).alive);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(Lease::acquire(dir_).attempt(), 2u);
    EXPECT_LT(std::chrono::steady_clock::now() - start, kLongerThanADisk);
}

TEST_F(LeaseTest, APidThatWasGivenAwayAgainIsNotTheOwner) {
    ProcessId self = this_process();
    --self.start_ticks;
    leave_lease(3, owner(self, process_space()), "1");
    EXPECT_EQ(Lease::acquire(dir_).attempt(), 4u);
}

TEST_F(LeaseTest, AnOwnerElsewhereIsWaitedOut) {
    leave_lease(1, owner({1, 1}, "another machine"), "00000000000000000005\n");
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(Lease::acquire(dir_, kQuick).attempt(), 2u);
    EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(400));
}

TEST_F(LeaseTest, AnOwnerElsewhereThatRenewsIsAlive) {
    leave_lease(1, owner({1, 1}, "another machine"), "00000000000000000005\n");
    std::atomic<bool> decided = false;
    std::thread renewer([&] {
        for (int beat = 6; !decided; ++beat) {
            std::this_thread::sleep_for(std::chrono::milliseconds(20));
            std::ofstream(dir_ / "beat") << fmt::format("{:020}\n", beat);
            std::filesystem::rename(dir_ / "beat", dir_ / "lease" / "epoch-000001.beat");
        }
    });
    EXPECT_THROW(Lease::acquire(dir_, {.renew_seconds = 0.05, .wait_seconds = 60}), ConfigError);
    decided = true;
    renewer.join();
}

TEST_F(LeaseTest, AReleasedLeaseElsewhereNeedsNoWaiting) {
    leave_lease(1, owner({1, 1}, "another machine"), nullptr);
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(Lease::acquire(dir_).attempt(), 2u);
    EXPECT_LT(std::chrono::steady_clock::now() - start, kLongerThanADisk);
}

TEST_F(LeaseTest, AFileThatNamesNobodyIsNobodys) {
    leave_lease(1, {{"host", 5}, {"pid", "x"}}, "00000000000000000005\n");
    EXPECT_EQ(Lease::acquire(dir_, kQuick).attempt(), 2U);
}

TEST_F(LeaseTest, TheCounterIsRenewed) {
    LeaseTiming by_its_owner_alone = kQuick;
    by_its_owner_alone.longest_pause_seconds = 0;
    Lease lease = Lease::acquire(dir_, by_its_owner_alone);
    const std::string first = monitoring::read_text(dir_ / "lease/epoch-000001.beat");
    std::this_thread::sleep_for(std::chrono::milliseconds(80));
    lease.renew();
    EXPECT_NE(monitoring::read_text(dir_ / "lease/epoch-000001.beat"), first);
}

// As when an fsync takes a minute. Whoever never comes back loses it all the same.
TEST_F(LeaseTest, Row12AnOwnerThatIsHeldUpKeepsItForAWhile) {
    for (const double longest_pause : {600.0, 3.0}) {
        LeaseTiming timing = kQuick;
        timing.longest_pause_seconds = longest_pause;
        const Lease lease = Lease::acquire(dir_, timing);
        const std::string beat = fmt::format("lease/epoch-{:06}.beat", lease.attempt());
        const std::string first = monitoring::read_text(dir_ / beat);
        leave_lease(lease.attempt(), owner({1, 1}, "another machine"), nullptr);  // as seen from elsewhere
        if (longest_pause > 60) {
            EXPECT_TRUE(eventually(60, [&] { return monitoring::read_text(dir_ / beat) != first; })) << "its thread";
            EXPECT_THROW(Lease::acquire(dir_, {.renew_seconds = 0.05, .wait_seconds = 60}), ConfigError);
        } else {
            std::uint32_t attempt = 0;
            const auto is_taken = [&] {
                try {
                    attempt = Lease::acquire(dir_, kQuick).attempt();
                } catch (const ConfigError&) {
                }
                return attempt > 0;
            };
            EXPECT_TRUE(eventually(60, is_taken));
            EXPECT_EQ(attempt, lease.attempt() + 1);
        }
    }
}

TEST_F(LeaseTest, Row17AHigherEpochFencesTheOwner) {
    Lease lease = Lease::acquire(dir_);
    leave_lease(2, owner({1, 1}, "another machine"), "1");
    EXPECT_FALSE(lease.is_current());
    EXPECT_THROW(lease.next_attempt(), CommError);
}

TEST_F(LeaseTest, Row17AnOwnerThatWasOvertakenHearsOfItWhenItRenews) {
    Lease lease = Lease::acquire(dir_, kQuick);
    lease.renew();
    leave_lease(2, owner({1, 1}, "another machine"), "1");
    std::this_thread::sleep_for(std::chrono::milliseconds(80));
    EXPECT_THROW(lease.renew(), CommError);
}

// While it was held up its counter was kept going for it, and has just been.
TEST_F(LeaseTest, Row17AnOwnerThatWasHeldUpAndOvertakenHearsOfItAsSoonAsItIsBack) {
    Lease lease = Lease::acquire(dir_, kQuick);
    lease.renew();
    leave_lease(2, owner({1, 1}, "another machine"), "1");
    const auto counter = [this] { return monitoring::read_text(dir_ / "lease/epoch-000001.beat"); };
    const std::string before = counter();
    for (int i = 0; counter() == before && i < 30000; ++i) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    EXPECT_THROW(lease.renew(), CommError);
}

TEST_F(LeaseTest, Row17AnOwnerThatWasOvertakenIsToldByWhom) {
    Lease lease = Lease::acquire(dir_);
    leave_lease(2, owner({4711, 1}, "another machine"), "1");
    try {
        lease.require_current();
        FAIL() << "it goes on";
    } catch (const CommError& error) {
        const std::string said = error.what();
        EXPECT_NE(said.find("another coordinator (process 4711 on host 'elsewhere', attempt 2) has taken the run"),
                  std::string::npos)
            << said;
    }
}

TEST_F(LeaseTest, Row17ATakeOverEndsTheOwnerAndWaitsUntilItHasLetGo) {
    std::optional<Lease> first(Lease::acquire(dir_, kQuick));
    std::atomic<bool> letting_go = false;
    std::thread owner_of_it([&] {
        while (first->is_current()) std::this_thread::sleep_for(std::chrono::milliseconds(5));
        std::this_thread::sleep_for(std::chrono::milliseconds(300));  // to end its workers
        letting_go = true;
        first.reset();
    });
    const Lease second = Lease::acquire(dir_, {.renew_seconds = 0.05, .wait_seconds = 60}, /*take_over=*/true);
    EXPECT_TRUE(letting_go);
    owner_of_it.join();
    EXPECT_EQ(second.attempt(), 2u);
    EXPECT_TRUE(second.is_current());
    ASSERT_TRUE(second.overtaken().has_value());
    EXPECT_EQ(second.overtaken()->pid, ::getpid());
    EXPECT_EQ(second.overtaken()->epoch, 1u);
    EXPECT_TRUE(second.overtaken()->let_go);
}

TEST_F(LeaseTest, Row17ATakeOverWaitsForOneThatCannotLetGoNoLongerThanForADeadOne) {
    EXPECT_FALSE(Lease::acquire(dir_, kQuick, /*take_over=*/true).overtaken()) << "nobody had it";
    leave_lease(2, owner(this_process(), process_space()), "1");
    const auto start = std::chrono::steady_clock::now();
    const Lease lease = Lease::acquire(dir_, kQuick, /*take_over=*/true);
    EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(400));
    EXPECT_EQ(lease.attempt(), 3u);
    ASSERT_TRUE(lease.overtaken().has_value());
    EXPECT_FALSE(lease.overtaken()->let_go);
}

TEST_F(LeaseTest, ALeaseThatVanishedIsNotCalledAnotherCoordinator) {
    Lease lease = Lease::acquire(dir_);
    std::filesystem::remove_all(dir_ / "lease");
    EXPECT_FALSE(lease.is_current());
    try {
        lease.require_current();
        FAIL() << "a lease without files was kept";
    } catch (const CommError& error) {
        const std::string said = error.what();
        EXPECT_NE(said.find((dir_ / "lease" / "epoch-000001").string() + "', and it is not there"), std::string::npos)
            << said;
        EXPECT_EQ(said.find("has taken the run"), std::string::npos) << said;
    }
}

TEST_F(LeaseTest, ARenewalThatFailsIsForgivenUntilTheCounterIsStale) {
    LeaseTiming timing = kQuick;
    timing.wait_seconds = 3;  // until it is stale
    Lease lease = Lease::acquire(dir_, timing);
    std::filesystem::rename(dir_ / "lease", dir_ / "away");
    std::ofstream(dir_ / "lease") << "a file, which cannot be listed";
    std::this_thread::sleep_for(std::chrono::milliseconds(80));
    EXPECT_NO_THROW(lease.renew());
    std::this_thread::sleep_for(std::chrono::milliseconds(3050));
    EXPECT_THROW(lease.renew(), IoError);
    std::filesystem::remove(dir_ / "lease");
    std::filesystem::rename(dir_ / "away", dir_ / "lease");
    EXPECT_NO_THROW(lease.renew());
}

// Whoever wins holds it until the others have asked, however long that takes them.
TEST_F(LeaseTest, OneOfManyThatComeAtOnceWins) {
    constexpr int kChildren = 8;
    std::array<int, 2> hold{};
    ASSERT_EQ(::pipe(hold.data()), 0);
    for (int i = 0; i < kChildren; ++i) {
        if (::fork() != 0) continue;
        ::close(hold[1]);
        try {
            const Lease lease = Lease::acquire(dir_);
            char nothing = 0;
            [[maybe_unused]] const auto end = ::read(hold[0], &nothing, 1);  // until the parent closes it
            ::_exit(0);
        } catch (const ConfigError&) {
            ::_exit(78);
        }
    }
    ::close(hold[0]);
    int losers = 0;
    for (int waits = 0; losers < kChildren - 1 && waits < 600;) {
        int status = 0;
        if (::waitpid(-1, &status, WNOHANG) == 0) {
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            ++waits;
            continue;
        }
        ASSERT_TRUE(WIFEXITED(status));
        losers += WEXITSTATUS(status) == 78 ? 1 : 0;
    }
    EXPECT_EQ(losers, kChildren - 1);
    ::close(hold[1]);
    for (int status = 0; ::waitpid(-1, &status, 0) > 0;) EXPECT_EQ(WEXITSTATUS(status), 0);
}

}  // namespace
}  // namespace kiban::coordinator
