// SPDX-License-Identifier: Apache-2.0
// Expected values are closed forms of rank and size, so one body serves every number of ranks.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <numeric>
#include <vector>

#include "checkpoint/placement.h"
#include "monitoring/error.h"
#include "tests/support/mpi_world.h"
#include "worker/comm/mpi_environment.h"
#include "worker/comm/tree_sum.h"

namespace kiban::worker {
namespace {

using checkpoint::Part;
using checkpoint::part_of;

int ranks() { return test_world().size(); }
int me() { return test_world().rank(); }
std::size_t index(std::int64_t i) { return static_cast<std::size_t>(i); }

// Nothing, one element, fewer than ranks, not a multiple of ranks, exactly one piece a rank, more than a piece and a
// bit.
const std::int64_t kSizes[] = {0, 1, 3, 1000, 1 << 18, (1 << 20) + 17, 3 * (1 << 20) + 1};

// A value whose sum over ranks is exact in float: integers below 2^24.
float value_of(int rank, std::int64_t i) { return static_cast<float>((i % 1000) * (rank + 1) + rank); }

float sum_over_ranks(std::int64_t i) {
    const std::int64_t n = ranks();
    return static_cast<float>((i % 1000) * n * (n + 1) / 2 + n * (n - 1) / 2);
}

std::vector<float> values_of(int rank, std::int64_t size) {
    std::vector<float> values(index(size));
    for (std::int64_t i = 0; i < size; ++i) values[index(i)] = value_of(rank, i);
    return values;
}

TEST(CommGroup, RankAndSizeAreThoseOfTheWorld) {
    EXPECT_EQ(test_world().name(), "world");
    EXPECT_GE(me(), 0);
    EXPECT_LT(me(), ranks());
}

TEST(CommGroup, ReduceScatterSumsTheOwnPartAndLeavesTheRest) {
    for (const std::int64_t size : kSizes) {
        std::vector<float> flat = values_of(me(), size);
        test_world().reduce_scatter_sum(flat);
        const Part own = part_of(size, me(), ranks());
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < size; ++i) {
            const bool mine = i >= own.begin && i < own.end;
            if (flat[index(i)] != (mine ? sum_over_ranks(i) : value_of(me(), i))) ++wrong;
        }
        EXPECT_EQ(wrong, 0) << "of " << size;
    }
}

TEST(CommGroup, AllGatherBringsEveryPartToEveryRank) {
    for (const std::int64_t size : kSizes) {
        std::vector<float> flat(index(size), -1.0F);
        std::vector<double> wide(index(size), -1.0);
        const Part own = part_of(size, me(), ranks());
        for (std::int64_t i = own.begin; i < own.end; ++i) {
            flat[index(i)] = static_cast<float>(i % 65536 + me());
            wide[index(i)] = static_cast<double>(i) + 0.25 * me();
        }
        test_world().all_gather(std::span<float>(flat));
        test_world().all_gather(std::span<double>(wide));
        std::int64_t wrong = 0;
        for (int rank = 0; rank < ranks(); ++rank) {
            const Part part = part_of(size, rank, ranks());
            for (std::int64_t i = part.begin; i < part.end; ++i) {
                if (flat[index(i)] != static_cast<float>(i % 65536 + rank)) ++wrong;
                if (wide[index(i)] != static_cast<double>(i) + 0.25 * rank) ++wrong;
            }
        }
        EXPECT_EQ(wrong, 0) << "of " << size;
    }
}

TEST(CommGroup, AllReduceOfFloatsSumsEverywhere) {
    for (const std::int64_t size : kSizes) {
        std::vector<float> flat = values_of(me(), size);
        test_world().all_reduce_sum(std::span<float>(flat));
        std::int64_t wrong = 0;
        for (std::int64_t i = 0; i < size; ++i) wrong += flat[index(i)] != sum_over_ranks(i) ? 1 : 0;
        EXPECT_EQ(wrong, 0) << "of " << size;
    }
}

// Terms of very different sizes: any other order of summation gives other bits.
double uneven(int rank, std::int64_t i) { return std::pow(-1.0, rank) * std::pow(10.0, (rank * 7 + i) % 13) / 3.0; }

TEST(CommGroup, FloatsAreSummedInTheTreesOrder) {
    const std::int64_t size = 2001;
    std::vector<float> flat(index(size));
    for (std::int64_t i = 0; i < size; ++i) flat[index(i)] = static_cast<float>(uneven(me(), i));
    test_world().all_reduce_sum(std::span<float>(flat));
    for (std::int64_t i = 0; i < size; ++i) {
        const auto term = [&](std::int64_t rank) { return static_cast<float>(uneven(static_cast<int>(rank), i)); };
        ASSERT_EQ(flat[index(i)], tree_sum_of(0, ranks(), term)) << i;
    }
}

TEST(CommGroup, DoublesAreSummedInTheTreesOrder) {
    std::vector<double> values(40);
    for (std::int64_t i = 0; i < 40; ++i) values[index(i)] = uneven(me(), i);
    test_world().all_reduce_sum(std::span<double>(values));
    for (std::int64_t i = 0; i < 40; ++i) {
        const auto term = [&](std::int64_t rank) { return uneven(static_cast<int>(rank), i); };
        ASSERT_EQ(values[index(i)], tree_sum_of(0, ranks(), term)) << i;
    }
}

// 1 + 2^-24 is 1 in float, so in sequence every sum is 1. In the tree the terms of a right half add up first: a power
// of two n > 1 loses only what stands beside the 1 and gives 1 + (n - 2) 2^-24; three give 1 + 2^-23.
TEST(CommGroup, TheTreeIsNotTheSequence) {
    const float half_step = std::ldexp(1.0F, -24);
    std::vector<float> flat(5, me() == 0 ? 1.0F : half_step);
    test_world().all_reduce_sum(std::span<float>(flat));
    const int group_of_three = me() < 3 ? 0 : 1;
    std::vector<float> three(5, me() == 0 ? 1.0F : half_step);
    test_world().split(group_of_three, me(), "three").all_reduce_sum(std::span<float>(three));
    const float lost = ranks() > 1 ? 2.0F : 1.0F;
    for (const float sum : flat) EXPECT_EQ(sum, 1.0F + (static_cast<float>(ranks()) - lost) * half_step);
    if (ranks() >= 4 && me() < 3) {
        for (const float sum : three) EXPECT_EQ(sum, 1.0F + 2 * half_step);
    }
}

TEST(CommGroup, ANonFiniteTermReachesEveryRank) {
    std::vector<double> values = {me() == ranks() - 1 ? std::numeric_limits<double>::quiet_NaN() : 1.0};
    test_world().all_reduce_sum(std::span<double>(values));
    EXPECT_FALSE(std::isfinite(values[0]));
}

TEST(CommGroup, IntegersAreSummedModulo2To64) {
    std::vector<std::uint64_t> values = {std::numeric_limits<std::uint64_t>::max(), static_cast<std::uint64_t>(me())};
    test_world().all_reduce_sum(std::span<std::uint64_t>(values));
    const auto n = static_cast<std::uint64_t>(ranks());
    EXPECT_EQ(values[0], 0 - n);
    EXPECT_EQ(values[1], n * (n - 1) / 2);
}

TEST(CommGroup, MaximumAndMinimumAreThoseOfAllRanks) {
    std::vector<std::int64_t> values = {me(), -me(), 7};
    test_world().all_reduce_max(values);
    EXPECT_EQ(values, (std::vector<std::int64_t>{ranks() - 1, 0, 7}));
    values = {me(), -me(), 7};
    test_world().all_reduce_min(values);
    EXPECT_EQ(values, (std::vector<std::int64_t>{0, 1 - ranks(), 7}));
}

TEST(CommGroup, BroadcastSendsTheRootsBytes) {
    for (const std::size_t size : {std::size_t{0}, std::size_t{1}, (std::size_t{1} << 20) + 5}) {
        for (int root = 0; root < ranks(); ++root) {
            std::vector<std::byte> bytes(size, std::byte(me() + 1));
            test_world().broadcast(bytes, root);
            EXPECT_EQ(bytes, std::vector<std::byte>(size, std::byte(root + 1)));
        }
    }
}

TEST(CommGroup, StringsOfAnyLengthAreGatheredByRank) {
    const auto text_of = [](int rank) {
        return std::string(static_cast<std::size_t>(rank) * 100, static_cast<char>('a' + rank));
    };
    const std::vector<std::string> everywhere = test_world().all_gather(text_of(me()));
    const int root = ranks() - 1;
    const std::vector<std::string> at_root = test_world().gather(text_of(me()), root);
    ASSERT_EQ(everywhere.size(), static_cast<std::size_t>(ranks()));
    EXPECT_EQ(at_root.size(), me() == root ? everywhere.size() : 0);
    for (int rank = 0; rank < ranks(); ++rank) EXPECT_EQ(everywhere[static_cast<std::size_t>(rank)], text_of(rank));
    if (me() == root) {
        EXPECT_EQ(at_root, everywhere);
    }
}

TEST(CommGroup, SplitMakesGroupsByColorOrderedByKey) {
    const Group half = test_world().split(me() % 2, -me(), "parity");
    EXPECT_EQ(half.name(), "parity");
    EXPECT_EQ(half.size(), (ranks() + (me() % 2 == 0 ? 1 : 0)) / 2);
    std::vector<std::int64_t> lowest = {me()};
    half.all_reduce_min(lowest);
    EXPECT_EQ(lowest[0], me() % 2);
    EXPECT_EQ(half.rank(), half.size() - 1 - me() / 2);
}

TEST(CommGroup, AGroupOfOneIsTheIdentity) {
    const Group alone = Group::alone();
    const std::uint64_t before = Group::collectives_begun();
    std::vector<float> flat = values_of(3, 1000);
    alone.reduce_scatter_sum(flat);
    alone.all_gather(std::span<float>(flat));
    alone.all_reduce_sum(std::span<float>(flat));
    EXPECT_EQ(flat, values_of(3, 1000));
    alone.barrier();
    EXPECT_EQ(alone.all_gather(std::string("x")), std::vector<std::string>{"x"});
    EXPECT_EQ(alone.split(0, 0, "still alone").size(), 1);
    EXPECT_EQ(Group::collectives_begun(), before);
}

TEST(CommGroup, RanksThatDisagreeAboutASizeAreToldSo) {
    if (ranks() == 1) {  // nobody to disagree with: any size is right
        std::vector<float> flat(5, 1.0F);
        test_world().reduce_scatter_sum(flat);
        EXPECT_EQ(flat, std::vector<float>(5, 1.0F));
        return;
    }
    std::vector<float> flat(me() == 0 ? 5 : 6);
    try {
        test_world().reduce_scatter_sum(flat);
        FAIL() << "a size mismatch went unnoticed";
    } catch (const CommError& error) {
        EXPECT_STREQ(
            error.what(),
            fmt::format("reduce_scatter_sum in group 'world': expected one size on all ranks, found 5 to 6 elements "
                        "({} on rank {})",
                        flat.size(), me())
                .c_str());
    }
}

TEST(CommGroup, AnMpiErrorNamesCallGroupPeerAndReason) {
    std::vector<std::byte> bytes(1);
    try {
        test_world().split(0, me(), "pair", Transport::messages).broadcast(bytes, ranks());
        EXPECT_EQ(ranks(), 1) << "a root that does not exist was accepted";
    } catch (const CommError& error) {
        EXPECT_NE(std::string(error.what())
                      .find(fmt::format("MPI_Bcast with rank {} failed in group 'pair' (rank {} of {}): MPI_ERR_ROOT",
                                        ranks(), me(), ranks())),
                  std::string::npos)
            << error.what();
        EXPECT_EQ(error.exit_code(), kExitRequeue);
    }
}

TEST(CommGroup, CollectivesAreCounted) {
    const std::uint64_t before = Group::collectives_begun();
    test_world().barrier();
    test_world().barrier();
    EXPECT_EQ(Group::collectives_begun() - before, ranks() == 1 ? 0U : 2U);
}

}  // namespace
}  // namespace kiban::worker
