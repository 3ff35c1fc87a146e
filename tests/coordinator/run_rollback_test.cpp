// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/run/train.h"

namespace kiban::coordinator {
namespace {

using Steps = std::vector<std::uint64_t>;
using Promoted = std::vector<bool>;

TEST(RollbackTarget, IsTheNewestPromotedCheckpointBeforeTheTrouble) {
    const Steps steps = {400, 300, 200, 100};
    EXPECT_EQ(rollback_target(steps, {false, false, true, true}, 350, std::nullopt), 2u);
    EXPECT_EQ(rollback_target(steps, {true, true, true, true}, 350, std::nullopt), 1u);
    EXPECT_EQ(rollback_target(steps, {true, true, true, true}, 300, std::nullopt), 2u)
        << "what was saved after step 300 holds update 300";
}

TEST(RollbackTarget, IsTheNewestOneWhereNoneIsPromoted) {
    EXPECT_EQ(rollback_target({400, 300, 200}, {false, false, false}, 350, std::nullopt), 1u);
    EXPECT_EQ(rollback_target({400}, {true}, 350, std::nullopt), std::nullopt);
    EXPECT_EQ(rollback_target({}, {}, 350, std::nullopt), std::nullopt);
}

TEST(RollbackTarget, PassesOverWhatWasLoadedWhereThatIsSuspect) {
    EXPECT_EQ(rollback_target({300, 200, 100}, {true, true, true}, 310, 300), 1u);
    EXPECT_EQ(rollback_target({300, 200, 100}, {true, false, true}, 310, 300), 2u);
    EXPECT_EQ(rollback_target({300}, {true}, 310, 300), 0u) << "there is nothing before it";
}

}  // namespace
}  // namespace kiban::coordinator
