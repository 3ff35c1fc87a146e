// SPDX-License-Identifier: Apache-2.0
#include "tests/worker/optim_checkpoints.h"

#include <nlohmann/json.hpp>
#include <stdlib.h>

#include <span>

#include "checkpoint/box.h"
#include "checkpoint/commit.h"
#include "checkpoint/shard.h"
#include "checkpoint/state.h"
#include "tests/support/mpi_world.h"

namespace kiban::worker {

namespace fs = std::filesystem;

Elements elements_of(const std::vector<checkpoint::TensorSlice>& slices) {
    Elements elements;
    for (const checkpoint::TensorSlice& slice : slices) {
        checkpoint::for_each_run(slice.box, slice.box, checkpoint::whole(slice.tensor.shape),
                                 [&](std::int64_t from, std::int64_t to, std::int64_t count) {
                                     for (std::int64_t i = 0; i < count; ++i) {
                                         elements[{slice.tensor.id.name, slice.tensor.id.kind, to + i}] =
                                             static_cast<const float*>(slice.data)[from + i];
                                     }
                                 });
    }
    return elements;
}

void OptimizerCheckpoints::SetUp() {
    std::string name = (fs::temp_directory_path() / "kiban-optim-XXXXXX").string();
    if (test_world().rank() == 0) {
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
    }
    test_world().broadcast(std::as_writable_bytes(std::span<char>(name)), 0);
    run_dir_ = name;
}

void OptimizerCheckpoints::TearDown() {
    test_world().barrier();
    if (test_world().rank() == 0) fs::remove_all(run_dir_);
}

fs::path OptimizerCheckpoints::save(ShardedOptimizer& optimizer, const Group& group, std::uint64_t step) {
    std::string staging;
    if (group.rank() == 0)
        staging = checkpoint::begin_checkpoint(run_dir_, step, 1, optimizer.checkpoint_bytes()).string();
    staging = group.all_gather(staging)[0];
    const auto report = checkpoint::write_shard(staging, group.rank(), optimizer.slices());
    const std::vector<std::string> reports = group.gather(checkpoint::to_json(report).dump(), 0);
    std::string directory;
    if (group.rank() == 0) {
        std::vector<checkpoint::ShardReport> shards;
        for (const std::string& text : reports)
            shards.push_back(checkpoint::shard_report_from_json(nlohmann::json::parse(text)));
        checkpoint::RunState state;
        state.step = step;
        directory = checkpoint::commit_checkpoint(run_dir_, staging, step, 1, shards, checkpoint::to_json(state), [] {
                        return true;
                    }).directory.string();
    }
    return group.all_gather(directory)[0];
}

}  // namespace kiban::worker
