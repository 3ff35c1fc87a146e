// SPDX-License-Identifier: Apache-2.0
#include "worker/train/health.h"

#include <array>
#include <bit>
#include <cmath>
#include <span>
#include <string>
#include <vector>

namespace kiban::worker {
namespace {

using monitoring::ModelHealth;

// visit(each number that is summed), in the same order on all workers.
template <typename Visit>
void for_each_sum(UpdateNorms& norms, Observed& seen, Visit visit) {
    for (double& sum : norms.parameters) visit(sum);
    for (double& sum : norms.changes) visit(sum);
    visit(norms.second_moments), visit(norms.adamws), visit(seen.logits);
    for (ObservedLayer& layer : seen.layers) {
        Moments& moments = layer.moments;
        visit(moments.count), visit(moments.sum), visit(moments.squares), visit(moments.cubes), visit(moments.fourths);
        visit(moments.directions), visit(layer.attention.entropy_nats), visit(layer.attention.queries);
        for (double& sum : layer.direction) visit(sum);
    }
}

template <typename Visit>
void for_each_largest(Observed& seen, Visit visit) {
    visit(seen.largest_logit);
    for (ObservedLayer& layer : seen.layers) visit(layer.moments.largest), visit(layer.attention.largest);
}

// Doubles in their order, as integers in theirs.
std::int64_t ordered(double value) {
    const auto bits = std::bit_cast<std::int64_t>(value);
    return bits < 0 ? bits ^ INT64_MAX : bits;
}

double from_ordered(std::int64_t bits) { return std::bit_cast<double>(bits < 0 ? bits ^ INT64_MAX : bits); }

void merge(const Group& world, UpdateNorms& norms, Observed& seen) {
    std::vector<double> sums;
    for_each_sum(norms, seen, [&](double sum) { sums.push_back(sum); });
    EmbeddingGeometry geometry = seen.embedding.value_or(EmbeddingGeometry{});
    const std::array<double, 4> of_one = {seen.embedding ? 1.0 : 0.0, geometry.effective_rank, geometry.isotropy_ratio,
                                          geometry.uniformity};
    sums.insert(sums.end(), of_one.begin(), of_one.end());  // zeros but from one worker
    world.all_reduce_sum(std::span<double>(sums));
    auto next = sums.begin();
    for_each_sum(norms, seen, [&](double& sum) { sum = *next++; });
    seen.embedding.reset();
    if (next[0] > 0) seen.embedding = {next[1], next[2], next[3]};

    std::vector<std::int64_t> largest;
    for_each_largest(seen, [&](double value) { largest.push_back(ordered(value)); });
    world.all_reduce_max(std::span<std::int64_t>(largest));
    auto most = largest.begin();
    for_each_largest(seen, [&](double& value) { value = from_ordered(*most++); });
}

void describe_update(const UpdateNorms& norms, ModelHealth& health) {
    for (std::size_t group = 0; group < kTensorGroups.size(); ++group) {
        if (norms.parameters[group] == 0 && norms.changes[group] == 0) continue;  // the model has none
        health.groups.push_back({.group = std::string(kTensorGroups[group]),
                                 .parameters = std::sqrt(norms.parameters[group]),
                                 .update = std::sqrt(norms.changes[group])});
    }
    if (norms.adamws > 0) health.adam_second_moment_norm = std::sqrt(norms.second_moments);
}

void describe_activations(const Observed& seen, ModelHealth& health) {
    if (seen.logits > 0) health.output_logit_max = seen.largest_logit;
    if (seen.embedding) {
        health.embedding_effective_rank = seen.embedding->effective_rank;
        health.embedding_isotropy_ratio = seen.embedding->isotropy_ratio;
        health.embedding_uniformity = seen.embedding->uniformity;
    }
    for (const std::uint64_t number : monitoring::layers_shown(seen.layers.size())) {
        const ObservedLayer& layer = seen.layers[number];
        if (layer.moments.count == 0) continue;  // nothing is held out
        health.layers.push_back({.layer = number,
                                 .rms = layer.moments.rms(),
                                 .largest = layer.moments.largest,
                                 .kurtosis = layer.moments.kurtosis(),
                                 .mean_cosine = mean_cosine(layer.moments.directions, layer.direction.data(),
                                                            static_cast<std::int64_t>(layer.direction.size())),
                                 .attention_entropy_nats = layer.attention.entropy_nats / layer.attention.queries,
                                 .attention_logit_max = layer.attention.largest});
    }
}

}  // namespace

HealthWatch::HealthWatch(const coordinator::ModelConfig& model, const Mesh& mesh)
    : mesh_(mesh), observer_(model.layers, model.d_model, mesh.world.rank() == 0) {}

UpdateNorms* HealthWatch::of_update() {
    norms_ = {};
    return &norms_;
}

ActivationObserver* HealthWatch::of_activations() {
    observer_.forget();
    return mesh_.data.rank() == 0 ? &observer_ : nullptr;
}

coordinator::Health HealthWatch::merged(std::uint64_t step) const {
    UpdateNorms norms = norms_;
    Observed seen = observer_.seen();
    merge(mesh_.world, norms, seen);
    coordinator::Health health{.step = step, .of = {}};
    describe_update(norms, health.of);
    describe_activations(seen, health.of);
    return health;
}

}  // namespace kiban::worker
