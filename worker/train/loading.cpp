// SPDX-License-Identifier: Apache-2.0
#include "worker/train/loading.h"

#include <optional>
#include <vector>

#include "checkpoint/reader.h"
#include "monitoring/error.h"
#include "monitoring/fault.h"

namespace kiban::worker {
namespace {

// What is wrong with a worker's share, for all to know: neither kind may throw on one worker alone.
struct ShareFault {
    std::string damage;      // the checkpoint is not to be trusted
    std::string unreadable;  // it cannot be read now, here
};

ShareFault read_own_share(const std::filesystem::path& directory, const checkpoint::RunState& now,
                          ShardedOptimizer& optimizer, std::optional<checkpoint::CheckpointReader>& reader) {
    try {
        reader.emplace(directory);
        checkpoint::check_resumable(checkpoint::run_state_from_json(reader->state()), now);
        optimizer.load(*reader);
        return {};
    } catch (const CheckpointError& error) {
        return {.damage = error.what(), .unreadable = ""};
    } catch (const IoError& error) {
        return {.damage = "", .unreadable = error.what()};
    }
}

std::string first_of(const Group& world, const std::string& mine) {
    const std::vector<std::string> all = world.all_gather(mine);
    for (std::size_t rank = 0; rank < all.size(); ++rank) {
        if (!all[rank].empty()) return fmt::format("worker {}: {}", rank, all[rank]);
    }
    return {};
}

std::string text_of(const checkpoint::ExactnessResult& result) {
    return result.level == checkpoint::Exactness::exact ? "exact" : "sample-exact: " + result.reason;
}

}  // namespace

LoadOutcome load_checkpoint(const std::filesystem::path& directory, const checkpoint::RunState& now, const Group& world,
                            ShardedOptimizer& optimizer) {
    LoadOutcome outcome;
    std::optional<checkpoint::CheckpointReader> reader;
    const ShareFault mine = read_own_share(directory, now, optimizer, reader);
    monitoring::fault_point("load.read");
    const std::string unreadable = first_of(world, mine.unreadable);
    if (!unreadable.empty()) throw IoError("{}", unreadable);
    outcome.error = first_of(world, mine.damage);
    if (!outcome.error.empty()) return outcome;
    outcome.error = optimizer.complete_load(*reader);
    if (!outcome.error.empty()) return outcome;
    outcome.state = checkpoint::run_state_from_json(reader->state());
    outcome.exactness = text_of(checkpoint::compare_world(outcome.state, now));
    return outcome;
}

void load_parameters(const std::filesystem::path& directory, Parameters& parameters) {
    const checkpoint::CheckpointReader reader(directory);
    for (const ParameterEntry& entry : parameters.entries()) {
        const checkpoint::TensorId id{entry.spec.name, "param"};
        const checkpoint::Box box = checkpoint::whole(entry.spec.shape);
        float* values = parameters.values() + entry.offset;
        reader.read(id, box, values);
        const std::uint64_t found =
            checkpoint::fingerprint({.tensor = {.id = id, .dtype = checkpoint::DType::f32, .shape = entry.spec.shape},
                                     .box = box,
                                     .data = values});
        if (found != reader.fingerprint_of(id)) {
            throw CheckpointError(
                "checkpoint '{}', tensor {}: expected fingerprint {:016x}, found {:016x}: it has another shape, or is "
                "damaged",
                directory.string(), to_string(id), reader.fingerprint_of(id), found);
        }
    }
}

}  // namespace kiban::worker
