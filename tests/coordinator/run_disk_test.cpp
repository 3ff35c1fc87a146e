// SPDX-License-Identifier: Apache-2.0
// The files of a run directory on a disk that finds no room for some of them for a while.
#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/run/journal.h"
#include "coordinator/run/lease.h"
#include "monitoring/error.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::coordinator {
namespace {

// The kernel writes no byte behind this one of any file: in part what crosses it, and nothing of what is behind it.
class NoRoomBehind {
  public:
    explicit NoRoomBehind(rlim_t bytes) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        EXPECT_EQ(::setrlimit(RLIMIT_FSIZE, &limit), 0);
    }
    ~NoRoomBehind() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }
    NoRoomBehind(const NoRoomBehind&) = delete;
    NoRoomBehind& operator=(const NoRoomBehind&) = delete;

  private:
    rlimit before_{};
    void (*handler_)(int) = std::signal(SIGXFSZ, SIG_IGN);  // an error instead
};

TEST(RunOnAFullDisk, AnEpochThatFindsNoRoomIsNotTakenAndMayBeAskedForAgain) {
    const checkpoint::testing::Scratch scratch;
    Lease lease = Lease::acquire(scratch.path());
    for (const rlim_t room : std::vector<rlim_t>{0, 30}) {  // none for the counter; some of what the claim needs
        const NoRoomBehind full(room);
        EXPECT_THROW(lease.next_attempt(), IoError) << room;
        EXPECT_TRUE(lease.is_current()) << "nobody else has taken the run";
        EXPECT_EQ(lease.attempt(), 1U);
    }
    EXPECT_EQ(lease.next_attempt(), 2U);
    EXPECT_TRUE(lease.is_current());
}

TEST(RunOnAFullDisk, TheJournalGoesOnBehindALineThatFoundNoRoom) {
    const checkpoint::testing::Scratch scratch;
    const auto file = scratch.path() / "journal.jsonl";
    Journal journal(file);
    journal.add("before");
    {
        const NoRoomBehind full(std::filesystem::file_size(file) + 20);
        EXPECT_THROW(journal.add("cut"), IoError);
        EXPECT_THROW(journal.add("nothing of it"), IoError);
    }
    journal.add("after");
    journal.add("last");
    std::vector<std::string> events;
    for (const auto& entry : read_journal(file)) events.push_back(entry.at("event"));
    EXPECT_EQ(events, (std::vector<std::string>{"before", "after", "last"}));
}

}  // namespace
}  // namespace kiban::coordinator
