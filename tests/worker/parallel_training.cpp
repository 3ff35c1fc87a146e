// SPDX-License-Identifier: Apache-2.0
#include "tests/worker/parallel_training.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "checkpoint/box.h"
#include "coordinator/job/inventory.h"
#include "worker/kernels/reduce.h"
#include "worker/train/health.h"
#include "worker/train/passes.h"
#include "worker/train/rows.h"

namespace kiban::worker {
namespace {

struct Rows {
    std::vector<std::int64_t> inputs;
    std::vector<std::int64_t> targets;
};

// A row has the same tokens whoever asks; every seventh target is masked.
Rows row_of(std::uint64_t number) {
    Rows row;
    std::uint64_t state = number * 0x9e3779b97f4a7c15ULL + 1;
    for (std::int64_t i = 0; i <= kTokens; ++i) {
        state = state * 6364136223846793005ULL + 1442695040888963407ULL;
        const auto token = static_cast<std::int64_t>((state >> 33) % static_cast<std::uint64_t>(kVocabulary));
        if (i < kTokens) row.inputs.push_back(token);
        if (i > 0) row.targets.push_back((number + static_cast<std::uint64_t>(i)) % 7 == 0 ? -1 : token);
    }
    return row;
}

std::uint64_t targets_of_batch(std::uint64_t first) {
    std::uint64_t count = 0;
    for (std::uint64_t row = first; row < first + kRows; ++row) {
        const Rows made = row_of(row);
        count += static_cast<std::uint64_t>(
            std::count_if(made.targets.begin(), made.targets.end(), [](std::int64_t target) { return target >= 0; }));
    }
    return count;
}

std::map<std::string, std::vector<float>> whole_tensors(const std::vector<checkpoint::TensorSlice>& slices,
                                                        const Group& group) {
    nlohmann::json mine = nlohmann::json::array();
    for (const checkpoint::TensorSlice& slice : slices) {
        if (slice.tensor.id.kind != "param") continue;
        const auto* data = static_cast<const float*>(slice.data);
        mine.push_back({{"name", slice.tensor.id.name},
                        {"shape", slice.tensor.shape},
                        {"offset", slice.box.offset},
                        {"extent", slice.box.extent},
                        {"data", std::vector<float>(data, data + checkpoint::num_elements(slice.box.extent))}});
    }
    const std::vector<std::uint8_t> packed = nlohmann::json::to_cbor(mine);
    const std::vector<std::string> all = group.gather(std::string(packed.begin(), packed.end()), 0);
    std::map<std::string, std::vector<float>> tensors;
    for (const std::string& text : all) {
        for (const nlohmann::json& part : nlohmann::json::from_cbor(text.begin(), text.end())) {
            const checkpoint::Shape shape = part["shape"];
            std::vector<float>& whole = tensors[part["name"].get<std::string>()];
            whole.resize(static_cast<std::size_t>(checkpoint::num_elements(shape)), NAN);
            const std::vector<float> data = part["data"];
            const checkpoint::Box box{part["offset"], part["extent"]};
            checkpoint::copy_box(box, box, data.data(), checkpoint::whole(shape), whole.data(), sizeof(float));
        }
    }
    return tensors;
}

double squares(ShardedOptimizer& optimizer, const Mesh& mesh, bool fixed) {
    if (!fixed) return optimizer.own_sum_of_squares();
    std::vector<double> blocks = optimizer.block_sums_of_squares();
    mesh.data.all_reduce_sum(std::span<double>(blocks));
    return mesh.data.rank() == 0 ? tree_sum(blocks) : 0.0;
}

}  // namespace

std::string Recipe::text() const {
    return fmt::format("{}, data {} in {} replicas, tensor {}, pipeline {}, ZeRO {}, recompute {}{}{}{}",
                       layout == coordinator::ModelLayout::gpt2 ? "gpt2" : "llama", data, replicate, tensor, pipeline,
                       zero, static_cast<int>(checkpointing), fixed ? ", fixed" : "", muon ? ", Muon" : "",
                       bf16 ? ", bf16" : "");
}

ModelSetup setup_of(const Recipe& recipe) {
    ModelSetup setup;
    setup.model.layout = recipe.layout;
    setup.model.layers = 4;
    setup.model.d_model = 32;
    setup.model.heads = 8;
    setup.model.kv_heads = recipe.layout == coordinator::ModelLayout::gpt2 ? 8 : 4;
    setup.model.d_hidden = 64;
    setup.vocabulary = kVocabulary;
    setup.sequence_length = kTokens;
    setup.parallel = {.zero = recipe.zero,
                      .tensor = recipe.tensor,
                      .pipeline = recipe.pipeline,
                      .context = 1,
                      .replicate = recipe.replicate};
    setup.train.batch_rows = kRows;
    setup.train.micro_batch_rows = 1;
    setup.train.clip_norm = 0.5;
    setup.train.activation_checkpointing = recipe.checkpointing;
    setup.train.optimizer.name = recipe.muon ? "muon" : "adamw";
    setup.train.precision = recipe.bf16 ? "bf16" : "fp32";
    setup.train.optimizer.learning_rate = 3e-3;
    return setup;
}

Trained train(const Recipe& recipe, const Group& group) {
    ParallelModel model(setup_of(recipe), group);
    const Mesh& mesh = model.mesh();
    const MicroBatches mine = micro_batches_of(kRows, 1, mesh.data.rank(), mesh.data.size());
    Passes passes(model, static_cast<int>(mine.count), recipe.fixed);
    model.sharding().initialise(11);
    HealthWatch health(setup_of(recipe).model, mesh);
    Trained result;
    for (int step = 0; step < recipe.steps; ++step) {
        const std::uint64_t first = static_cast<std::uint64_t>(step) * kRows;
        const auto targets = static_cast<double>(targets_of_batch(first));
        std::vector<Rows> rows;
        for (std::uint64_t i = 0; i < mine.count; ++i) rows.push_back(row_of(first + mine.first + i));
        model.sharding().begin_step();
        const std::vector<double> losses = passes.accumulate_gradients(
            [&](std::uint64_t i) {
                return Batch{1, rows[i].inputs, rows[i].targets};
            },
            1.0 / targets);
        model.sharding().reduce_gradients();
        std::vector<double> all(kRows);
        std::copy(losses.begin(), losses.end(), all.begin() + static_cast<std::ptrdiff_t>(mine.first));
        mesh.world.all_reduce_sum(std::span<double>(all));
        std::array<double, 1> square = {squares(model.optimizer(), mesh, recipe.fixed)};
        mesh.world.all_reduce_sum(std::span<double>(square));
        result.losses.push_back(tree_sum(all) / targets);
        result.norms.push_back(std::sqrt(square[0]));
        if (step == 0) result.first = whole_tensors(model.optimizer().reduced_gradients(), group);
        const bool observed = recipe.observed && step + 1 == recipe.steps;
        if (observed) result.before_last = whole_tensors(model.optimizer().slices(), group);
        model.optimizer().update(static_cast<std::uint64_t>(step) + 1, 3e-3, result.norms.back(),
                                 observed ? health.of_update() : nullptr);
        model.sharding().publish_values();
    }
    std::array<double, 1> holdout = {0};
    const Rows row = row_of(1'000'000);
    const double here =
        passes.evaluate({1, row.inputs, row.targets}, recipe.observed ? health.of_activations() : nullptr).loss;
    if (recipe.observed) result.health = health.merged(static_cast<std::uint64_t>(recipe.steps)).of;
    if (mesh.data.rank() == 0) holdout[0] = here;
    mesh.world.all_reduce_sum(std::span<double>(holdout));
    result.holdout = holdout[0];
    result.last = whole_tensors(model.optimizer().slices(), group);
    return result;
}

}  // namespace kiban::worker
