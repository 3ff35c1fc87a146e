// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/plan.h"

#include <algorithm>
#include <bit>
#include <string_view>

#include "coordinator/job/layout.h"
#include "coordinator/job/plan_activations.h"
#include "coordinator/job/plan_buckets.h"
#include "coordinator/job/plan_muon.h"
#include "coordinator/job/plan_stage.h"
#include "coordinator/job/plan_traffic.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

// Three slots and two pages of each rank (worker/comm/shared_window.h), which every rank of the group maps: over all of
// them, each accounts for its own.
constexpr std::uint64_t kWindowBytes = 3 * (std::uint64_t{512} << 10) + 2 * 4096;

std::uint64_t bytes_of(std::int64_t floats) { return static_cast<std::uint64_t>(floats) * sizeof(float); }

std::int64_t micro_batches_of(const TrainConfig& train, int data) {
    const std::uint64_t rows = train.micro_batch_rows * static_cast<std::uint64_t>(data);
    if (rows == 0 || train.batch_rows == 0 || train.batch_rows % rows != 0) {
        throw ConfigError(
            "train.batch_rows = {} rows are no whole number of micro-batches of train.micro_batch_rows = {} for each "
            "of {} data-parallel workers",
            train.batch_rows, train.micro_batch_rows, data);
    }
    return static_cast<std::int64_t>(train.batch_rows / rows);
}

void check(const PlanInput& input) {
    check_cut(input.model, input.parallel);
    if (input.parallel.zero < 0 || input.parallel.zero > 3)
        throw ConfigError("parallel.zero: expected 0 to 3, found {}", input.parallel.zero);
    const std::int64_t tensor = input.parallel.tensor;
    for (const std::uint64_t rows : {input.train.micro_batch_rows, input.train.eval_micro_batch_rows}) {
        if (rows != 0 && static_cast<std::int64_t>(rows) * input.sequence_length % tensor == 0) continue;
        throw ConfigError("{} rows of {} tokens cannot be shared evenly by parallel.tensor = {}", rows,
                          input.sequence_length, tensor);
    }
}

// Each level of the tree over M leaves but the first: ceil(log2 M) (worker/parallel/gradient_tree.h).
std::uint64_t tree_bytes(const PlannedStage& stage) {
    if (stage.input.train.reduction != "fixed") return 0;
    const auto levels = std::bit_width(static_cast<std::uint64_t>(stage.micro_batches) - 1);
    return static_cast<std::uint64_t>(levels) * bytes_of(stage.layout.padded);
}

// The axis itself has a window once it sums as many (worker/comm/verbs.cpp).
constexpr std::int64_t kFewDoubles = 4096;

std::uint64_t window_bytes(const PlannedStage& stage) {
    std::uint64_t groups = 0;
    // Replicas share out the data axis, which then carries a few numbers alone, or the squares of the fixed reduction.
    const int replicate = stage.input.parallel.replicate;
    for (const int size : {stage.shards, replicate, stage.cut.tensor, stage.input.workers}) groups += size > 1 ? 1 : 0;
    const std::int64_t losses_or_squares = std::max(stage.micro_batches * stage.data, blocks_of(stage.layout));
    if (replicate > 1 && stage.input.train.reduction == "fixed" && losses_or_squares >= kFewDoubles) ++groups;
    if (ties_stages(stage.input.model, stage.cut)) ++groups;
    if (has_muon(stage) && stage.shards * stage.cut.tensor > 1) ++groups;
    return groups * kWindowBytes;
}

// Inputs and targets as 64-bit integers; cosines and sines of every position.
std::uint64_t row_bytes(const PlannedStage& stage) {
    const TrainConfig& train = stage.input.train;
    const auto micro_batches = static_cast<std::uint64_t>(stage.micro_batches);
    const auto tokens = stage.tokens(micro_batches * train.micro_batch_rows + train.eval_micro_batch_rows);
    const std::int64_t rotary = stage.gpt2() ? 0 : stage.input.sequence_length * stage.input.model.head_size();
    return 16 * static_cast<std::uint64_t>(tokens) + bytes_of(rotary);
}

// bf16: a bucket with a matrix that is multiplied is rounded when it is first used (worker/model/parameters.h), and the
// copy lives as long as the bucket is here.
std::uint64_t rounded_bytes(const PlannedStage& stage) {
    if (!stage.bf16()) return 0;
    std::uint64_t sum = 0;
    std::uint64_t most = 0;
    const std::string_view head = stage.gpt2() ? "embedding.weight" : "head.weight";
    for (const Bucket& bucket : stage.layout.buckets) {
        if (!bucket.name.starts_with("layers.") && !(stage.scores() && bucket.name == head)) continue;
        const std::uint64_t bytes = 2 * static_cast<std::uint64_t>(bucket.padded);
        sum += bytes;
        most = std::max(most, bytes);
    }
    return stage.input.parallel.zero < 3 ? sum : most;
}

MemoryPlan memory_of(const PlannedStage& stage) {
    const int zero = stage.input.parallel.zero;
    const std::uint64_t whole = bytes_of(stage.layout.padded);
    const std::uint64_t own = whole / static_cast<std::uint64_t>(stage.shards);  // buckets are padded for it
    const PassMemory passes = pass_memory(stage);
    MemoryPlan memory;
    memory.weights = (zero < 3 ? whole : own) + rounded_bytes(stage);
    memory.gradients = zero < 2 ? whole : own;
    memory.optimizer = optimizer_bytes(stage);
    memory.activations = std::min(passes.kept, passes.peak);
    memory.working = passes.peak - memory.activations;
    memory.buckets = pool_bytes(stage);
    memory.tree = tree_bytes(stage);
    memory.muon = muon_bytes(stage);
    memory.windows = window_bytes(stage);
    memory.rows = row_bytes(stage);
    memory.process = kProcessBytes + kLibraryBytes / static_cast<std::uint64_t>(stage.input.workers);
    return memory;
}

// Parameters that a token is multiplied with once in the forward pass, over all tensor ranks.
struct Multiplied {
    double layers = 0;
    double second_halves = 0;  // of the layers: norm and feed-forward
    double ends = 0;           // last norm and head
};

Multiplied multiplied_on(const PlannedStage& stage) {
    Multiplied sum;
    for (const LocalTensor& tensor : stage.layout.tensors) {
        const std::string_view name = tensor.spec.name;
        const auto elements = static_cast<double>(tensor.spec.elements());
        if (name.starts_with("layers.")) sum.layers += elements;
        if (name.starts_with("layers.") && name.find(".mlp") != name.npos) sum.second_halves += elements;
        if (name.starts_with("norm.")) sum.ends += elements;
    }
    if (stage.scores())
        sum.ends += static_cast<double>(stage.input.vocabulary) * static_cast<double>(stage.input.model.d_model);
    return sum;
}

// The terms of model_size() that fall to this stage, shared evenly by its workers; a forward pass is a third of them.
void count_flops(const PlannedStage& stage, StagePlan& plan) {
    const TrainConfig& train = stage.input.train;
    const Multiplied parameters = multiplied_on(stage);
    const double attention = 12.0 * static_cast<double>(stage.layers.size()) *
                             static_cast<double>(stage.input.sequence_length) *
                             static_cast<double>(stage.input.model.d_model);
    const double tokens = static_cast<double>(stage.micro_batches * stage.tokens(train.micro_batch_rows)) /
                          static_cast<double>(stage.cut.tensor);
    plan.model_flops = tokens * (6.0 * (parameters.layers + parameters.ends) + attention);
    if (train.activation_checkpointing == ActivationCheckpointing::selective)
        plan.recomputed_flops = tokens * 2.0 * parameters.second_halves;
    if (train.activation_checkpointing == ActivationCheckpointing::full)
        plan.recomputed_flops = tokens * (2.0 * parameters.layers + attention / 3.0);
}

StagePlan plan_of(const PlannedStage& stage) {
    StagePlan plan;
    plan.stage = stage.cut.stage;
    plan.layers = stage.layers;
    plan.parameters = static_cast<std::uint64_t>(stage.layout.elements);
    plan.under_way = static_cast<int>(stage.under_way());
    plan.memory = memory_of(stage);
    count_flops(stage, plan);
    plan.traffic = traffic_of_step(stage);
    return plan;
}

}  // namespace

PlannedStage::PlannedStage(const PlanInput& plan_input, int stage)
    : input(plan_input),
      data(data_degree(plan_input.parallel, plan_input.workers)),
      shards(shard_degree(plan_input.parallel, plan_input.workers)),
      cut{.tensor = plan_input.parallel.tensor,
          .tensor_rank = 0,
          .pipeline = plan_input.parallel.pipeline,
          .stage = stage},
      layout(layout_of(plan_input.model, plan_input.vocabulary, plan_input.sequence_length, cut, data)),
      layers(layers_of_stage(plan_input.model.layers, stage, cut.pipeline)),
      micro_batches(micro_batches_of(plan_input.train, data)) {}

std::uint64_t StagePlan::sent_bytes() const {
    std::uint64_t sum = 0;
    for (const TrafficPlan& row : traffic)
        if (row.operation != "receive") sum += row.bytes;
    return sum;
}

const StagePlan& Plan::largest() const {
    return *std::max_element(stages.begin(), stages.end(), [](const StagePlan& a, const StagePlan& b) {
        return a.memory.total() < b.memory.total();
    });
}

double Plan::model_flops() const { return static_cast<double>(tokens) * size.flops_per_token; }

double Plan::recomputed_flops() const {
    double sum = 0;
    for (const StagePlan& stage : stages) sum += stage.recomputed_flops;
    return sum * data * tensor;
}

Plan plan_of(const PlanInput& input) {
    check(input);
    Plan plan;
    plan.size = model_size(input.model, input.vocabulary, input.sequence_length);
    plan.workers = input.workers;
    plan.data = data_degree(input.parallel, input.workers);
    plan.tensor = input.parallel.tensor;
    plan.pipeline = input.parallel.pipeline;
    plan.zero = input.parallel.zero;
    plan.replicate = input.parallel.replicate;
    plan.micro_batches = static_cast<std::uint64_t>(micro_batches_of(input.train, plan.data));
    plan.micro_batch_rows = input.train.micro_batch_rows;
    plan.tokens = input.train.batch_rows * static_cast<std::uint64_t>(input.sequence_length);
    for (int stage = 0; stage < plan.pipeline; ++stage) plan.stages.push_back(plan_of(PlannedStage(input, stage)));
    return plan;
}

}  // namespace kiban::coordinator
