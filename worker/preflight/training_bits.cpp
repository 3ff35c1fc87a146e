// SPDX-License-Identifier: Apache-2.0
#include "worker/preflight/training_bits.h"

#include <cmath>
#include <cstring>
#include <span>
#include <vector>

#include "coordinator/protocol/wire.h"
#include "data/digest.h"
#include "monitoring/error.h"
#include "worker/parallel/parallelize.h"
#include "worker/train/passes.h"

namespace kiban::worker {
namespace {

constexpr std::int64_t kVocabulary = 257;

struct Tokens {
    std::vector<std::int64_t> inputs;
    std::vector<std::int64_t> targets;
};

Tokens fixed_tokens(std::uint64_t step, std::size_t count) {
    const auto token = [&](std::uint64_t at) {
        return static_cast<std::int64_t>((at * at * 31 + step * 101 + at) % static_cast<std::uint64_t>(kVocabulary));
    };
    Tokens tokens;
    for (std::size_t i = 0; i < count; ++i) {
        tokens.inputs.push_back(token(i));
        tokens.targets.push_back(token(i + 1));
    }
    return tokens;
}

ModelSetup setup_of(const coordinator::RunFile& run_file) {
    return {.model = run_file.model,
            .vocabulary = kVocabulary,
            .sequence_length = run_file.data.sequence_length,
            .parallel = {},
            .train = run_file.train};
}

}  // namespace

TrainingBits training_bits(const coordinator::RunFile& run_file) {
    const Group alone = Group::alone();
    ParallelModel model(setup_of(run_file), alone);
    model.sharding().initialise(run_file.run.seed);
    Passes passes(model, 1, /*fixed=*/false);
    data::Sha256 digest;
    double began = 0;
    for (std::uint64_t step = 1; step <= run_file.train.steps; ++step) {
        if (step == 2) began = coordinator::monotonic_seconds();
        const auto count = static_cast<std::size_t>(run_file.train.batch_rows) * run_file.data.sequence_length;
        const Tokens tokens = fixed_tokens(step, count);
        const Batch batch{.rows = static_cast<std::int64_t>(run_file.train.batch_rows),
                          .inputs = tokens.inputs,
                          .targets = tokens.targets};
        model.sharding().begin_step();
        const auto losses =
            passes.accumulate_gradients([&](std::uint64_t) { return batch; }, 1.0 / static_cast<double>(count));
        model.sharding().reduce_gradients();
        const double norm = std::sqrt(model.optimizer().own_sum_of_squares());
        model.optimizer().update(step, run_file.train.optimizer.learning_rate, norm);
        model.sharding().publish_values();
        KIBAN_CHECK(std::isfinite(norm), "the preflight's gradient norm of step {} is {}", step, norm);
        digest.update(std::as_bytes(std::span(losses)));
    }
    const auto last = coordinator::monotonic_seconds();
    Parameters& parameters = model.parameters();
    for (const ParameterEntry& entry : parameters.entries()) {
        digest.update(std::as_bytes(
            std::span(parameters.values() + entry.offset, static_cast<std::size_t>(entry.spec.elements()))));
    }
    return {digest.finish(), (last - began) / static_cast<double>(run_file.train.steps - 1)};
}

}  // namespace kiban::worker
