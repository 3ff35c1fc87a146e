// SPDX-License-Identifier: Apache-2.0
#include "worker/train/saving.h"

#include <utility>

#include "checkpoint/shard.h"
#include "monitoring/log.h"

namespace kiban::worker {
namespace {

coordinator::ShardWritten write_own_shard(const std::string& directory, const Group& world, ShardedOptimizer& optimizer,
                                          std::uint64_t step) {
    coordinator::ShardWritten written{.step = step, .error = "", .report = nullptr};
    try {
        const std::vector<checkpoint::TensorSlice> slices = optimizer.slices();
        written.report = checkpoint::to_json(checkpoint::write_shard(directory, world.rank(), slices));
    } catch (const Error& error) {  // this save fails; the coordinator tells everybody
        written.error = fmt::format("{}: {}", error.type_name(), error.what());
    }
    return written;
}

}  // namespace

bool save_checkpoint(Control& control, const Group& world, ShardedOptimizer& optimizer,
                     const checkpoint::RunState& state) {
    const std::uint64_t step = state.step;
    control.enter("save", step);
    if (world.rank() == 0) {
        control.send(coordinator::StageRequest{
            .step = step, .bytes = optimizer.checkpoint_bytes(), .state = checkpoint::to_json(state)});
    }
    const auto stage = control.wait_for<coordinator::StageReply>("the place of a checkpoint");
    KIBAN_CHECK(stage.step == step, "the coordinator gave a place for step {} when step {} was to be saved", stage.step,
                step);
    if (!stage.error.empty()) {
        monitoring::log_warning("no checkpoint of step {}: {}", step, stage.error);
        return false;
    }
    control.send(write_own_shard(stage.directory, world, optimizer, step));
    const auto result = control.wait_for<coordinator::SaveResult>("the end of a save");
    KIBAN_CHECK(result.step == step, "the coordinator ended the save of step {} when that of step {} was under way",
                result.step, step);
    if (!result.committed) monitoring::log_warning("no checkpoint of step {}: {}", step, result.error);
    return result.committed;
}

}  // namespace kiban::worker
