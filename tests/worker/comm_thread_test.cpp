// SPDX-License-Identifier: Apache-2.0
// Messages between two ranks, handles, and the communication thread. Each body runs with and without the thread.
#include "worker/comm/comm_thread.h"

#include <gtest/gtest.h>

#include <chrono>
#include <ctime>
#include <functional>
#include <optional>
#include <thread>
#include <vector>

#include "monitoring/error.h"
#include "tests/support/mpi_world.h"

namespace kiban::worker {
namespace {

int ranks() { return test_world().size(); }
int me() { return test_world().rank(); }
int next() { return (me() + 1) % ranks(); }
int before() { return (me() + ranks() - 1) % ranks(); }

void with_and_without_a_thread(const std::function<void()>& body) {
    body();
    const CommThread thread(4);
    body();
}

std::vector<float> values_of(int rank, std::size_t size) {
    std::vector<float> values(size);
    for (std::size_t i = 0; i < size; ++i) values[i] = static_cast<float>(i % 4096) + static_cast<float>(rank) * 0.25F;
    return values;
}

// Nothing, one, one piece exactly, and pieces that no eager message carries.
const std::size_t kSizes[] = {0, 1, 1 << 18, 3 * (1 << 18) + 7};

TEST(CommMessages, ARankReceivesWhatTheOneBeforeSends) {
    if (ranks() == 1) {
        EXPECT_THROW(test_world().send(values_of(0, 1), 0, 0), InternalError);
        return;
    }
    with_and_without_a_thread([] {
        for (const std::size_t size : kSizes) {
            const std::vector<float> mine = values_of(me(), size);
            std::vector<float> received(size, -1.0F);
            if (me() % 2 == 0)
                test_world().send(mine, next(), 3);  // neighbours differ in parity: nobody waits for ever
            test_world().receive(received, before(), 3);
            if (me() % 2 != 0) test_world().send(mine, next(), 3);
            EXPECT_EQ(received, values_of(before(), size)) << size;
        }
    });
}

TEST(CommMessages, NeighboursThatAllStartToSendDoNotWaitForEver) {
    if (ranks() == 1) {
        EXPECT_THROW(test_world().receive({}, 0, 0), InternalError);
        return;
    }
    with_and_without_a_thread([] {
        for (const std::size_t size : kSizes) {
            const std::vector<float> forward = values_of(me(), size);
            const std::vector<float> backward = values_of(me() + 10, size);
            Handle to_next = test_world().start_send(forward, next(), 0);
            Handle to_before = test_world().start_send(backward, before(), 1);
            std::vector<float> from_next(size);
            std::vector<float> from_before(size);
            test_world().receive(from_next, next(), 1);
            test_world().receive(from_before, before(), 0);
            to_next.wait();
            to_before.wait();
            EXPECT_EQ(from_before, values_of(before(), size)) << size;
            EXPECT_EQ(from_next, values_of(next() + 10, size)) << size;
        }
    });
}

// The receiver is in its message while the sender waits in shared memory: the sender must keep MPI moving.
TEST(CommMessages, AStartedSendMovesWhileItsSenderIsInACollective) {
    if (ranks() == 1) {
        EXPECT_THROW(test_world().start_send({}, 1, 0), InternalError);
        return;
    }
    with_and_without_a_thread([] {
        const std::size_t size = 1 << 20;
        const std::vector<float> mine = values_of(0, size);
        std::vector<float> received(size);
        std::vector<float> sum(300'000, 1.0F);
        Handle sent = me() == 0 ? test_world().start_send(mine, 1, 5) : Handle();
        if (me() == 1) test_world().receive(received, 0, 5);
        test_world().all_reduce_sum(std::span<float>(sum));
        sent.wait();
        EXPECT_EQ(sum, std::vector<float>(300'000, static_cast<float>(ranks())));
        if (me() == 1) {
            EXPECT_EQ(received, mine);
        }
    });
}

TEST(CommMessages, AMessageOfAnotherSizeIsAnError) {
    std::vector<float> values(ranks() > 1 && me() == 0 ? 5 : 6);
    const Group pair = test_world().split(me() / 2, me(), "pair");
    if (pair.size() < 2) {
        EXPECT_THROW(pair.send(values, 1, 0), InternalError);
        return;
    }
    values.resize(pair.rank() == 0 ? 5 : 6);
    if (pair.rank() == 0) {
        pair.send(values, 1, 0);
        return;
    }
    try {
        pair.receive(values, 0, 0);
        FAIL() << "a size mismatch went unnoticed";
    } catch (const CommError& error) {
        EXPECT_STREQ(error.what(), "receive in group 'pair' from rank 0: expected 6 elements, found 5");
    }
}

// Three started operations at a time on two groups, with blocking verbs between, checked by closed forms.
TEST(CommThread, StartedAndBlockingVerbsOfTwoGroupsKeepTheirOrder) {
    with_and_without_a_thread([] {
        const int n = ranks();
        const Group backward = test_world().split(0, -me(), "backward");
        for (int turn = 0; turn < 20; ++turn) {
            const std::size_t size = 1000U + 40'009U * static_cast<std::size_t>(turn % 3);
            const auto mine = static_cast<float>(me() + turn);
            std::vector<float> a(size, mine);
            std::vector<float> b(size, 2 * mine);
            std::vector<float> c(size, 3 * mine);
            Handle first = test_world().start_all_reduce_sum(a);
            Handle second = backward.start_reduce_scatter_sum(b);
            std::vector<double> one = {1.0};
            test_world().all_reduce_sum(one);
            Handle third = backward.start_all_gather(b);
            Handle fourth = test_world().start_all_reduce_sum(c);
            third.wait();
            first.wait();
            fourth.wait();
            second.wait();
            const auto sum = static_cast<float>(n * turn + n * (n - 1) / 2);
            ASSERT_EQ(a, std::vector<float>(size, sum)) << turn;
            ASSERT_EQ(b, std::vector<float>(size, 2 * sum)) << turn;
            ASSERT_EQ(c, std::vector<float>(size, 3 * sum)) << turn;
            ASSERT_EQ(one[0], n);
        }
    });
}

TEST(CommThread, ErrorsAreThrownWhereTheyAreWaitedFor) {
    with_and_without_a_thread([] {
        std::vector<float> flat(static_cast<std::size_t>(me()) + 1);
        Handle handle = test_world().start_all_reduce_sum(flat);
        if (ranks() == 1) {
            EXPECT_NO_THROW(handle.wait());
        } else {
            EXPECT_THROW(handle.wait(), CommError);
            EXPECT_THROW(test_world().all_reduce_sum(std::span<float>(flat)), CommError);
        }
        EXPECT_NO_THROW(handle.wait());  // nothing is left in it
        test_world().barrier();
    });
}

TEST(CommThread, AHandleThatGoesUnwaitedWaits) {
    with_and_without_a_thread([] {
        std::vector<float> flat(400'000, 1.0F);
        { const Handle unwaited = test_world().start_all_reduce_sum(flat); }
        EXPECT_EQ(flat, std::vector<float>(400'000, static_cast<float>(ranks())));
        Handle replaced = test_world().start_all_reduce_sum(flat);
        replaced = Handle();
        EXPECT_EQ(flat[0], static_cast<float>(ranks() * ranks()));
    });
}

TEST(CommThread, MoreSubmissionsThanPlacesAllRun) {
    const CommThread thread(1);
    std::vector<std::vector<float>> buffers(50, std::vector<float>(100, 1.0F));
    std::vector<Handle> handles;
    for (std::vector<float>& buffer : buffers) handles.push_back(test_world().start_all_reduce_sum(buffer));
    for (Handle& handle : handles) handle.wait();
    for (const auto& buffer : buffers) EXPECT_EQ(buffer, std::vector<float>(100, static_cast<float>(ranks())));
}

TEST(CommThread, WhatWasSubmittedEndsBeforeTheThread) {
    std::vector<float> flat(400'000, 1.0F);
    Handle handle;
    {
        const CommThread thread;
        handle = test_world().start_all_reduce_sum(flat);
    }
    handle.wait();
    EXPECT_EQ(flat, std::vector<float>(400'000, static_cast<float>(ranks())));
}

TEST(CommThread, ASecondOneIsRefusedAndALaterOneIsNot) {
    std::optional<CommThread> thread;
    thread.emplace();
    EXPECT_THROW(CommThread(), InternalError);
    thread.reset();
    thread.emplace();
    const Group part = test_world().split(0, me(), "made and freed by the thread");
    EXPECT_EQ(part.size(), ranks());
}

TEST(CommThread, AnIdleThreadUsesNoProcessor) {
    const auto process_time = [] {
        timespec now{};
        clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
        return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
    };
    const CommThread thread;
    test_world().barrier();
    const double start = process_time();
    std::this_thread::sleep_for(std::chrono::milliseconds(200));
    EXPECT_LT(process_time() - start, 0.05);
    test_world().barrier();
}

}  // namespace
}  // namespace kiban::worker
