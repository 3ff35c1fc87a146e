// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/plan_traffic.h"

#include <utility>

#include "coordinator/job/plan_buckets.h"
#include "coordinator/job/plan_muon.h"

namespace kiban::coordinator {
namespace {

struct Axis {
    const char* name;
    int size;
    int rank = 0;
};

// Bytes that one rank sends in one call on `count` elements.
std::uint64_t own_bytes(const Axis& axis, std::int64_t count, std::uint64_t element) {
    return element * static_cast<std::uint64_t>(checkpoint::part_of(count, axis.rank, axis.size).size());
}

std::uint64_t reduce_scatter(const Axis& axis, std::int64_t count, std::uint64_t element = sizeof(float)) {
    return element * static_cast<std::uint64_t>(count) - own_bytes(axis, count, element);
}

std::uint64_t all_gather(const Axis& axis, std::int64_t count, std::uint64_t element = sizeof(float)) {
    return static_cast<std::uint64_t>(axis.size - 1) * own_bytes(axis, count, element);
}

std::uint64_t all_reduce(const Axis& axis, std::int64_t count, std::uint64_t element = sizeof(float)) {
    return reduce_scatter(axis, count, element) + all_gather(axis, count, element);
}

class StepTraffic {
  public:
    explicit StepTraffic(const PlannedStage& stage)
        : stage_(stage),
          layout_(stage.layout),
          zero_(stage.input.parallel.zero),
          micro_batches_(static_cast<std::uint64_t>(stage.micro_batches)),
          data_{"data", stage.data},
          shard_{stage.input.parallel.replicate == 1 ? "data" : "shard", stage.shards},
          replica_{"replica", stage.input.parallel.replicate},
          tensor_{"tensor", stage.cut.tensor} {}

    std::vector<TrafficPlan> rows() {
        gradients();
        parameters();
        data_sums();
        tensor_tokens();
        tensor_gradients();
        neighbours();
        tied_embedding();
        muon();
        world_sums();
        return std::move(rows_);
    }

  private:
    void add(const Axis& axis, const char* operation, const char* what, std::uint64_t calls, std::uint64_t bytes) {
        if (axis.size > 1 && calls > 0) rows_.push_back({axis.name, operation, what, calls, bytes});
    }

    // Whose gradients are summed after each micro-batch, or once a step.
    std::uint64_t sums_a_step() const { return zero_ >= 2 ? micro_batches_ : 1; }

    void gradients() {
        std::uint64_t bytes = 0;
        for (const Bucket& bucket : layout_.buckets) bytes += reduce_scatter(shard_, bucket.padded);
        add(shard_, "reduce_scatter", "gradients", sums_a_step() * layout_.buckets.size(), sums_a_step() * bytes);
        std::uint64_t over_replicas = 0;
        for (const Bucket& bucket : layout_.buckets)
            over_replicas += all_reduce(replica_, bucket.padded / stage_.shards);
        add(replica_, "all_reduce", "gradients summed over the shards", layout_.buckets.size(), over_replicas);
    }

    void parameters() {
        std::uint64_t calls = 0;
        std::uint64_t bytes = 0;
        const std::vector<std::uint64_t> uses = uses_of_buckets(stage_);
        for (std::size_t i = 0; i < layout_.buckets.size(); ++i) {
            const std::uint64_t times = zero_ == 3 ? micro_batches_ * uses[i] : 1;
            calls += times;
            bytes += times * all_gather(shard_, layout_.buckets[i].padded);
        }
        const char* what = zero_ == 0   ? "summed gradients"
                           : zero_ == 3 ? "parameters before each use"
                                        : "updated parameters";
        add(shard_, "all_gather", what, calls, bytes);
    }

    // A count of targets; with the fixed reduction the losses of all micro-batches, and the squares of all blocks.
    void data_sums() {
        add(data_, "all_reduce", "small: number of targets", 1, all_reduce(data_, 1, sizeof(std::uint64_t)));
        if (stage_.input.train.reduction != "fixed") return;
        const std::int64_t losses = stage_.micro_batches * stage_.data;
        add(data_, "all_reduce", "small: losses and squares, to be summed in the fixed tree", 2,
            all_reduce(data_, losses, sizeof(double)) + all_reduce(data_, blocks_of(layout_), sizeof(double)));
    }

    // Two matrices a layer take all tokens and two give sums for the own; the backward pass turns each around.
    void tensor_tokens() {
        const std::uint64_t recomputed[] = {0, 1, 2};  // none, selective: the second half, full
        const auto how = static_cast<std::size_t>(stage_.input.train.activation_checkpointing);
        const std::uint64_t calls =
            micro_batches_ * static_cast<std::uint64_t>(stage_.layers.size()) * (4 + recomputed[how]);
        const std::int64_t count = stage_.tokens(stage_.input.train.micro_batch_rows) * stage_.input.model.d_model;
        add(tensor_, "reduce_scatter", "activations and their gradients", calls,
            calls * reduce_scatter(tensor_, count));
        add(tensor_, "all_gather", "activations and their gradients", calls, calls * all_gather(tensor_, count));
    }

    void tensor_gradients() {
        std::uint64_t bytes = 0;
        for (const Bucket& bucket : layout_.buckets) {
            std::int64_t partial = 0;
            for (std::size_t i = bucket.first; i <= bucket.last; ++i)
                if (layout_.tensors[i].partial) partial += layout_.tensors[i].elements();
            bytes += all_reduce(tensor_, partial);
        }
        add(tensor_, "all_reduce", "gradients of tensors that are not cut", sums_a_step() * layout_.buckets.size(),
            sums_a_step() * bytes);
    }

    void neighbours() {
        const Axis pipeline{"pipeline", stage_.cut.pipeline, stage_.cut.stage};
        const std::int64_t count = stage_.tokens_here(stage_.input.train.micro_batch_rows) * stage_.input.model.d_model;
        const std::uint64_t bytes = micro_batches_ * static_cast<std::uint64_t>(count) * sizeof(float);
        const std::uint64_t to_next = stage_.scores() ? 0 : micro_batches_;
        const std::uint64_t to_previous = stage_.embeds() ? 0 : micro_batches_;
        add(pipeline, "send", "activations", to_next, bytes);
        add(pipeline, "send", "gradients of activations", to_previous, bytes);
        add(pipeline, "receive", "activations", to_previous, bytes);
        add(pipeline, "receive", "gradients of activations", to_next, bytes);
    }

    void tied_embedding() {
        if (!ties_stages(stage_.input.model, stage_.cut)) return;
        const Axis tied{"tied", 2, stage_.embeds() ? 0 : 1};
        for (const Bucket& bucket : layout_.buckets)
            if (bucket.name == "embedding.weight")
                add(tied, "all_reduce", "gradient of the tied embedding", 1,
                    all_reduce(tied, bucket.padded / stage_.shards));
    }

    // Momenta of a layer to the workers that orthogonalise its matrices, and back to where the slices are.
    void muon() {
        const Axis layer{"layer", stage_.shards * stage_.cut.tensor};
        const bool whole = zero_ == 0 || stage_.shards == 1;
        std::uint64_t calls = 0;
        std::uint64_t gathered = 0;
        std::uint64_t scattered = 0;
        std::uint64_t spread = 0;
        for (const Bucket& bucket : layout_.buckets) {
            if (!has_muon(stage_, bucket)) continue;
            ++calls;
            gathered += all_gather(layer, stage_.cut.tensor * bucket.padded);
            scattered += reduce_scatter(layer, stage_.cut.tensor * bucket.padded);
            spread += all_gather(shard_, bucket.padded);
        }
        add(layer, "all_gather", "momenta", whole && stage_.cut.tensor == 1 ? 0 : calls, gathered);
        add(layer, "reduce_scatter", "orthogonal updates", calls, scattered);
        add(shard_, "all_gather", "orthogonal updates", whole ? calls : 0, spread);
    }

    void world_sums() {
        const Axis world{"world", stage_.input.workers, stage_.cut.stage * stage_.cut.tensor};
        add(world, "all_reduce", "small: loss, norm and stop", 1, all_reduce(world, 3, sizeof(double)));
    }

    const PlannedStage& stage_;
    const Layout& layout_;
    int zero_;
    std::uint64_t micro_batches_;
    Axis data_;
    Axis shard_;
    Axis replica_;
    Axis tensor_;
    std::vector<TrafficPlan> rows_;
};

}  // namespace

std::vector<TrafficPlan> traffic_of_step(const PlannedStage& stage) { return StepTraffic(stage).rows(); }

}  // namespace kiban::coordinator
