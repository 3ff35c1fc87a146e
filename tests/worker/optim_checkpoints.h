// SPDX-License-Identifier: Apache-2.0
// Real checkpoints of a sharded optimizer, for tests under mpirun.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "checkpoint/tensor.h"
#include "tests/support/message_of.h"
#include "worker/comm/group.h"
#include "worker/optim/sharded_optimizer.h"

namespace kiban::worker {

// Every stored element by (tensor, kind, flat index).
using Elements = std::map<std::tuple<std::string, std::string, std::int64_t>, float>;
Elements elements_of(const std::vector<checkpoint::TensorSlice>& slices);

/// A run directory of the whole world, gone after the test.
class OptimizerCheckpoints : public ::testing::Test {
  protected:
    void SetUp() override;
    void TearDown() override;

    /// As in a real save: every member of the group writes its shard, member 0 commits. The directory, on all.
    std::filesystem::path save(ShardedOptimizer& optimizer, const Group& group, std::uint64_t step);

    std::filesystem::path run_dir_;
};

}  // namespace kiban::worker
