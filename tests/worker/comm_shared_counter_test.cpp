// SPDX-License-Identifier: Apache-2.0
// Between threads here, between processes in comm_exchange_test.cpp: the counter does not know the difference.
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "worker/comm/shared_counter.h"

namespace kiban::worker {
namespace {

TEST(SharedCounter, StartsAtZeroAndKnowsWhatItHasReached) {
    SharedCounter counter;
    EXPECT_TRUE(counter.reached(0));
    EXPECT_FALSE(counter.reached(1));
    counter.raise(2);
    EXPECT_TRUE(counter.reached(1));
    EXPECT_TRUE(counter.reached(2));
}

TEST(SharedCounter, ValuesWrap) {
    SharedCounter counter;
    counter.raise(0xFFFFFFFFU);
    EXPECT_FALSE(counter.reached(0));
    counter.raise(1);
    EXPECT_TRUE(counter.reached(0xFFFFFFFFU));
    EXPECT_TRUE(counter.reached(0));
}

// Two threads hand a plain integer to and fro; one is late now and then, so that the other sleeps.
TEST(SharedCounter, WhatWasWrittenBeforeARaiseIsSeenAfterTheWait) {
    constexpr std::uint32_t kTurns = 20'000;
    SharedCounter given;
    SharedCounter taken;
    std::uint32_t value = 0;
    std::thread giver([&] {
        for (std::uint32_t turn = 1; turn <= kTurns; ++turn) {
            if (turn % 4000 == 0) std::this_thread::sleep_for(std::chrono::milliseconds(12));
            value = turn;
            given.raise(turn);
            taken.wait(turn, [] { return true; });
        }
    });
    std::uint32_t wrong = 0;
    std::uint32_t polls = 0;
    for (std::uint32_t turn = 1; turn <= kTurns; ++turn) {
        given.wait(turn, [&polls] { return ++polls % 2 == 0; });
        if (value != turn) ++wrong;
        taken.raise(turn);
    }
    giver.join();
    EXPECT_EQ(wrong, 0U);
    EXPECT_GE(polls, 5U);
    EXPECT_LT(polls, kTurns);
}

}  // namespace
}  // namespace kiban::worker
