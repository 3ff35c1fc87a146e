// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <atomic>
#include <map>
#include <thread>
#include <vector>

#include "tests/support/mpi_world.h"
#include "worker/comm/traffic.h"

namespace kiban::worker {
namespace {

int ranks() { return test_world().size(); }
int me() { return test_world().rank(); }

struct Count {
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;
    bool operator==(const Count&) const = default;
};

std::map<std::string, Count> counts_of(const std::string& group) {
    std::map<std::string, Count> counts;
    for (const TrafficRow& row : traffic()) {
        EXPECT_GE(row.seconds, 0.0);
        if (row.group == group) counts[row.operation] = {row.calls, row.bytes};
    }
    return counts;
}

// 12 elements a rank, so that parts are even and the closed forms have no remainder.
TEST(CommTraffic, BytesAreTheClosedForms) {
    for (const Transport transport : {Transport::automatic, Transport::messages}) {
        const Group group = test_world().split(0, me(), "counted", transport);
        reset_traffic();
        const auto n = static_cast<std::uint64_t>(ranks());
        std::vector<float> flat(12 * n);
        std::vector<double> wide(12 * n);
        group.reduce_scatter_sum(flat);
        group.reduce_scatter_sum(flat);
        group.all_gather(std::span<float>(flat));
        group.all_gather(std::span<double>(wide));
        group.all_reduce_sum(std::span<float>(flat));
        group.all_reduce_sum(std::span<double>(wide));
        group.broadcast(std::as_writable_bytes(std::span<float>(flat)), 0);
        std::map<std::string, Count> expected;
        if (n > 1) {
            expected["reduce_scatter"] = {2, 2 * 48 * (n - 1)};
            expected["all_gather"] = {2, (48 + 96) * (n - 1)};
            expected["all_reduce"] = {2, 2 * (48 + 96) * (n - 1)};
            expected["broadcast"] = {1, me() == ranks() - 1 ? 0 : 48 * n};
        }
        EXPECT_EQ(counts_of("counted"), expected);
    }
}

TEST(CommTraffic, UnevenPartsAreCountedAsTheyAre) {
    reset_traffic();
    const auto n = static_cast<std::uint64_t>(ranks());
    std::vector<float> flat(n + 1);  // the first rank owns two elements, the others one
    test_world().reduce_scatter_sum(flat);
    test_world().all_gather(std::span<float>(flat));
    const std::uint64_t own = me() == 0 ? 2 : 1;
    std::map<std::string, Count> expected;
    if (n > 1) {
        expected["reduce_scatter"] = {1, 4 * (n + 1 - own)};
        expected["all_gather"] = {1, 4 * own * (n - 1)};
    }
    EXPECT_EQ(counts_of("world"), expected);
}

TEST(CommTraffic, MessagesAreCountedOnBothEnds) {
    reset_traffic();
    std::map<std::string, Count> expected;
    if (ranks() > 1) {
        std::vector<float> values(1000);
        if (me() == 0) {
            test_world().send(values, 1, 0);
            test_world().start_send(values, 1, 0).wait();
            expected["send"] = {2, 8000};
        }
        if (me() == 1) {
            test_world().receive(values, 0, 0);
            test_world().receive(values, 0, 0);
            expected["receive"] = {2, 8000};
        }
    }
    EXPECT_EQ(counts_of("world"), expected);
}

TEST(CommTraffic, AResetForgetsAndSecondsAreThoseOfTheVerb) {
    std::vector<float> flat(1 << 20);
    test_world().all_reduce_sum(std::span<float>(flat));
    double seconds = 0;
    for (const TrafficRow& row : traffic()) seconds += row.seconds;
    EXPECT_EQ(seconds > 0, ranks() > 1);
    reset_traffic();
    EXPECT_TRUE(traffic().empty());
}

TEST(CommTraffic, OtherThreadsMayLookWhileVerbsRun) {
    reset_traffic();
    std::atomic<bool> stop{false};
    std::thread looking([&stop] {
        while (!stop) {
            for (const TrafficRow& row : traffic()) {
                if (row.group.empty()) break;
            }
            std::this_thread::yield();
        }
    });
    std::vector<float> flat(64);
    for (int call = 0; call < 200; ++call) test_world().all_reduce_sum(std::span<float>(flat));
    stop = true;
    looking.join();
    const auto counts = counts_of("world");
    EXPECT_EQ(counts.empty() ? 0U : counts.at("all_reduce").calls, ranks() > 1 ? 200U : 0U);
}

}  // namespace
}  // namespace kiban::worker
