// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/run/attempt.h"
#include "coordinator/run/membership.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

using Ranks = std::vector<int>;

Hello hello(int rank, int world = 2, int pid = 100) {
    Hello message;
    message.rank = rank;
    message.world_size = world;
    message.host = "here";
    message.pid = pid + rank;
    return message;
}

// Start at 1000 s, 60 s to start, 30 s of silence.
Membership two() { return {2, 1000, 60, 30}; }

TEST(Membership, FollowsATimeline) {
    Membership members = two();
    struct Event {
        double at;
        int speaker;  // -1: nobody
        Ranks missing;
        Ranks lost;
    };
    members.hello(hello(0), 1001);
    EXPECT_FALSE(members.all_joined());
    EXPECT_EQ(members.missing(1060), Ranks{});
    EXPECT_EQ(members.missing(1060.1), Ranks{1});
    members.hello(hello(1), 1002);
    EXPECT_TRUE(members.all_joined());
    const std::vector<Event> timeline = {
        {1003, 0, {}, {}}, {1031, 0, {}, {}},    {1032, -1, {}, {}},    {1032.5, -1, {}, {1}},
        {1033, 1, {}, {}}, {1061.5, 1, {}, {0}}, {1091.4, -1, {}, {0}}, {1092, -1, {}, {0, 1}},
    };
    for (const Event& event : timeline) {
        if (event.speaker >= 0) members.heartbeat(event.speaker, {}, event.at);
        EXPECT_EQ(members.missing(event.at), event.missing) << event.at;
        EXPECT_EQ(members.lost(event.at), event.lost) << event.at;
    }
}

TEST(Membership, AWorkerAnswersFromItsHelloUntilItIsLostOrHasFinished) {
    Membership members = two();
    EXPECT_FALSE(members.answers(0, 1001));
    members.hello(hello(0), 1001);
    EXPECT_TRUE(members.answers(0, 1031));
    EXPECT_FALSE(members.answers(0, 1031.5));
    members.heard(0, 1032);
    EXPECT_TRUE(members.answers(0, 1033));
    members.finished(0);
    EXPECT_FALSE(members.answers(0, 1033));
    EXPECT_FALSE(members.answers(1, 1033));
}

TEST(Membership, AHostIsSilentWhenNobodyOnItWasHeardOfLate) {
    Membership members(4, 1000, 60, 30);
    for (const auto& [rank, host] : {std::pair(0, "h1"), std::pair(1, "h1"), std::pair(2, "h2"), std::pair(3, "h2")}) {
        Hello from = hello(rank);
        from.world_size = 4;
        from.host = host;
        members.hello(from, 1000);
    }
    members.heard(0, 1031);
    members.heard(1, 1030);
    members.heard(3, 1001);
    EXPECT_EQ(members.lost(1030.5), std::vector<int>{2});
    EXPECT_EQ(members.silent_hosts(1030.5), std::set<std::string>{"h2"})
        << "its other worker spoke last a second later";
    members.heard(3, 1016);
    EXPECT_EQ(members.silent_hosts(1030.5), std::set<std::string>{}) << "one worker is silent, not its host";
}

TEST(Membership, AWorkerThatHasFinishedMayBeSilent) {
    Membership members = two();
    members.hello(hello(0), 1001);
    members.hello(hello(1), 1001);
    members.finished(1);
    EXPECT_EQ(members.lost(2000), Ranks{0});
    EXPECT_FALSE(members.all_finished());
    members.finished(0);
    EXPECT_TRUE(members.all_finished());
}

TEST(Membership, APauseOfTheCoordinatorIsNobodysSilenceNorLateness) {
    Membership members = two();
    members.hello(hello(0), 1001);
    members.excuse(600);
    EXPECT_EQ(members.lost(1630), Ranks{});
    EXPECT_EQ(members.missing(1660), Ranks{}) << "worker 1 has its time to start yet";
    EXPECT_EQ(members.lost(1631.5), Ranks{0}) << "who stays silent is noticed within the timeout";
    EXPECT_EQ(members.missing(1660.5), Ranks{1});
}

TEST(Membership, AnotherWorldSizeIsRefusedNamingBoth) {
    Membership members = two();
    try {
        members.hello(hello(0, 1), 1001);
        FAIL() << "a singleton was let in";
    } catch (const ConfigError& error) {
        EXPECT_NE(std::string(error.what()).find("says the world has 1 workers, expected 2"), std::string::npos);
    }
    EXPECT_FALSE(members.members()[0].hello.has_value());
}

TEST(Membership, TwoProcessesOfOneRankAreRefused) {
    Membership members = two();
    members.hello(hello(0), 1001);
    members.hello(hello(0), 1001);  // the same process again, after it reconnected
    EXPECT_THROW(members.hello(hello(0, 2, 500), 1002), ConfigError);
}

TEST(Membership, KeepsTheLatestHeartbeat) {
    Membership members = two();
    members.hello(hello(0), 1001);
    members.heartbeat(0, {.phase = "forward", .step = 3}, 1002);
    members.heartbeat(0, {.phase = "save", .step = 4}, 1003);
    EXPECT_EQ(members.members()[0].heartbeat.phase, "save");
    EXPECT_EQ(members.members()[0].last_heard, 1003);
}

TEST(PlaceOfAWorker, IsWhatItWroteDownUnlessItsLastWordIsLater) {
    Member member;
    EXPECT_FALSE(place_of_worker(member, std::nullopt)) << "nobody knows";
    const Whereabouts written{.phase = "backward", .step = 8, .position = 256};
    EXPECT_EQ(place_of_worker(member, written)->phase, "backward");
    EXPECT_EQ(place_of_worker(member, written)->host, "");

    member.hello = hello(1);
    member.heartbeat.phase = "forward";
    member.heartbeat.step = 8;
    const auto same = place_of_worker(member, written);
    EXPECT_EQ(same->phase, "backward") << "a heartbeat is up to a second old";
    EXPECT_EQ(same->position, 256U);
    EXPECT_EQ(same->host, "here");

    member.heartbeat.step = 9;
    const auto later = place_of_worker(member, written);
    EXPECT_EQ(later->phase, "forward");
    EXPECT_EQ(later->step, 9U);
    EXPECT_FALSE(later->position) << "where the rows of step 8 begin says nothing of step 9";
    EXPECT_EQ(place_of_worker(member, std::nullopt)->step, 9U);
}

}  // namespace
}  // namespace kiban::coordinator
