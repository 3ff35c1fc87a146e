// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/layout.h"

#include <charconv>
#include <optional>
#include <string_view>

#include "coordinator/job/sharding.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

using checkpoint::Placement;

// Large enough that a block's sum is a tight loop, small enough that small buckets are shared by many workers.
std::int64_t block_of(std::int64_t elements) { return elements >= 65536 ? 1024 : 16; }

constexpr std::string_view kEmbedding = "embedding.weight";
constexpr std::string_view kPositions = "positions.weight";

std::optional<std::int64_t> layer_of(std::string_view name) {
    constexpr std::string_view kPrefix = "layers.";
    if (!name.starts_with(kPrefix)) return std::nullopt;
    std::int64_t layer = 0;
    std::from_chars(name.data() + kPrefix.size(), name.data() + name.size(), layer);
    return layer;
}

std::string bucket_name(const std::string& tensor) {
    if (const auto layer = layer_of(tensor)) return fmt::format("layers.{}", *layer);
    return tensor.starts_with("norm.") ? "norm" : tensor;
}

bool is_on_stage(const std::string& name, const ModelConfig& model, const ModelCut& cut) {
    if (const auto layer = layer_of(name)) {
        const checkpoint::Part here = layers_of_stage(model.layers, cut.stage, cut.pipeline);
        return *layer >= here.begin && *layer < here.end;
    }
    if (name == kEmbedding || name == kPositions) return cut.first_stage();
    return cut.last_stage();  // norm, head
}

LocalTensor local_part(TensorSpec spec, const ModelCut& cut) {
    LocalTensor tensor{.spec = std::move(spec), .box = {}};
    tensor.box = checkpoint::whole(tensor.spec.shape);
    const Placement placement = placement_of(tensor.spec.name);
    if (placement.kind == Placement::Kind::split) {
        const auto dim = static_cast<std::size_t>(placement.dim);
        const std::int64_t size = tensor.spec.shape[dim];
        KIBAN_CHECK(size % cut.tensor == 0, "cut dimension {} of tensor '{}', {} elements, in {} parts", dim,
                    tensor.spec.name, size, cut.tensor);
        tensor.box.extent[dim] = size / cut.tensor;
        tensor.box.offset[dim] = cut.tensor_rank * tensor.box.extent[dim];
    } else {
        tensor.partial = cut.tensor > 1;
    }
    return tensor;
}

class Builder {
  public:
    explicit Builder(int data) : data_(data) {}

    void add(LocalTensor tensor, const std::string& bucket) {
        if (layout_.buckets.empty() || layout_.buckets.back().name != bucket) {
            close();
            layout_.buckets.push_back(
                {.name = bucket, .first = layout_.tensors.size(), .offset = layout_.padded, .copy = tensor.copy});
        }
        Bucket& home = layout_.buckets.back();
        tensor.bucket = static_cast<int>(layout_.buckets.size()) - 1;
        tensor.offset = home.offset + home.elements;
        home.elements += tensor.elements();
        home.last = layout_.tensors.size();
        layout_.tensors.push_back(std::move(tensor));
    }

    Layout take() {
        close();
        return std::move(layout_);
    }

  private:
    void close() {
        if (layout_.buckets.empty()) return;
        Bucket& bucket = layout_.buckets.back();
        bucket.block = block_of(bucket.elements);
        const std::int64_t unit = bucket.block * data_;
        bucket.padded = (bucket.elements + unit - 1) / unit * unit;
        layout_.elements += bucket.elements;
        layout_.padded = bucket.offset + bucket.padded;
    }

    int data_;
    Layout layout_;
};

void check_divides(const char* what, std::int64_t number, int degree) {
    if (number % degree == 0) return;
    throw ConfigError("parallel.tensor = {} does not divide {} = {}", degree, what, number);
}

}  // namespace

std::int64_t blocks_of(const Layout& layout) {
    std::int64_t blocks = 0;
    for (const Bucket& bucket : layout.buckets) blocks += (bucket.elements + bucket.block - 1) / bucket.block;
    return blocks;
}

std::int64_t LocalTensor::elements() const { return checkpoint::num_elements(box.extent); }

void check_cut(const ModelConfig& model, const ParallelConfig& parallel) {
    check_divides("model.heads", model.heads, parallel.tensor);
    check_divides("model.kv_heads", model.resolved_kv_heads(), parallel.tensor);
    check_divides("model.d_hidden", model.resolved_hidden(), parallel.tensor);
    if (parallel.pipeline > model.layers) {
        throw ConfigError(
            "parallel.pipeline = {} stages cannot share model.layers = {}: expected at most one stage a layer",
            parallel.pipeline, model.layers);
    }
}

int data_degree(const ParallelConfig& parallel, int workers) {
    if (parallel.pipeline < 1 || parallel.context < 1 || parallel.tensor < 1) {
        throw ConfigError(
            "cannot arrange {} workers: expected degrees of at least 1, found pipeline {}, context {}, tensor {}",
            workers, parallel.pipeline, parallel.context, parallel.tensor);
    }
    const std::int64_t others = std::int64_t{1} * parallel.pipeline * parallel.context * parallel.tensor;
    if (workers < others || workers % others != 0) {
        throw ConfigError("cannot arrange {} workers: expected a multiple of {} (pipeline {} x context {} x tensor {})",
                          workers, others, parallel.pipeline, parallel.context, parallel.tensor);
    }
    return static_cast<int>(workers / others);
}

int shard_degree(const ParallelConfig& parallel, int workers) {
    const int data = data_degree(parallel, workers);
    if (parallel.replicate < 1 || data % parallel.replicate != 0) {
        throw ConfigError(
            "parallel.replicate = {} does not divide the {} data-parallel workers ({} workers / pipeline {} / context "
            "{} "
            "/ tensor {})",
            parallel.replicate, data, workers, parallel.pipeline, parallel.context, parallel.tensor);
    }
    return data / parallel.replicate;
}

checkpoint::Part layers_of_stage(std::int64_t layers, int stage, int pipeline) {
    return checkpoint::part_of(layers, stage, pipeline);
}

bool ties_stages(const ModelConfig& model, const ModelCut& cut) {
    return model.layout == ModelLayout::gpt2 && cut.pipeline > 1 && (cut.first_stage() || cut.last_stage());
}

Layout layout_of(const ModelConfig& model, std::int64_t vocabulary, std::int64_t sequence_length, const ModelCut& cut,
                 int data) {
    Builder builder(data);
    for (TensorSpec& spec : tensor_inventory(model, vocabulary, sequence_length)) {
        const std::string name = spec.name;
        const bool here = is_on_stage(name, model, cut);
        const bool copy = !here && name == kEmbedding && cut.last_stage() && ties_stages(model, cut);
        if (!here && !copy) continue;
        LocalTensor tensor = local_part(std::move(spec), cut);
        tensor.copy = copy;
        builder.add(std::move(tensor), bucket_name(name));
    }
    return builder.take();
}

Layout layout_of(const std::vector<TensorSpec>& tensors, int data) {
    Builder builder(data);
    for (const TensorSpec& spec : tensors) builder.add({.spec = spec, .box = checkpoint::whole(spec.shape)}, "all");
    return builder.take();
}

}  // namespace kiban::coordinator
