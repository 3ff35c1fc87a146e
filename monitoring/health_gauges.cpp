// SPDX-License-Identifier: Apache-2.0
#include "monitoring/health_gauges.h"

#include <algorithm>
#include <string>

namespace kiban::monitoring {

void HealthGauges::show(std::uint64_t step, const ModelHealth& health) {
    clear();
    set(families_.health_step, {}, static_cast<double>(step));
    std::vector<std::string> groups;  // each once: a gauge is remembered once, and removed once
    for (const GroupNorms& norms : health.groups) {
        const bool known = std::find(kTensorGroups.begin(), kTensorGroups.end(), norms.group) != kTensorGroups.end();
        if (!known || std::find(groups.begin(), groups.end(), norms.group) != groups.end()) continue;
        groups.push_back(norms.group);
        set_group(norms);
    }
    std::vector<std::uint64_t> layers;
    for (const LayerHealth& layer : health.layers) {
        if (layers.size() == kMostLayersShown) break;
        if (std::find(layers.begin(), layers.end(), layer.layer) != layers.end()) continue;
        layers.push_back(layer.layer);
        set_layer(layer);
    }
    const auto set_one = [this](Gauges& family, const std::optional<double>& value) {
        if (value) set(family, {}, *value);
    };
    set_one(families_.adam_second_moment_norm, health.adam_second_moment_norm);
    set_one(families_.output_logit_max, health.output_logit_max);
    set_one(families_.embedding_effective_rank, health.embedding_effective_rank);
    set_one(families_.embedding_isotropy_ratio, health.embedding_isotropy_ratio);
    set_one(families_.embedding_uniformity, health.embedding_uniformity);
}

void HealthGauges::clear() {
    for (const auto& [family, gauge] : shown_) family->Remove(gauge);
    shown_.clear();
}

void HealthGauges::set(Gauges& family, const prometheus::Labels& labels, double value) {
    prometheus::Gauge& gauge = family.Add(labels);
    gauge.Set(value);
    shown_.emplace_back(&family, &gauge);
}

void HealthGauges::set_group(const GroupNorms& norms) {
    const prometheus::Labels labels = {{"group", norms.group}};
    set(families_.param_norm, labels, norms.parameters);
    set(families_.update_norm, labels, norms.update);
    set(families_.update_to_param_ratio, labels, norms.update / norms.parameters);
}

void HealthGauges::set_layer(const LayerHealth& layer) {
    const prometheus::Labels labels = {{"layer", std::to_string(layer.layer)}};
    set(families_.activation_rms, labels, layer.rms);
    set(families_.activation_max, labels, layer.largest);
    set(families_.activation_kurtosis, labels, layer.kurtosis);
    set(families_.hidden_cosine_mean, labels, layer.mean_cosine);
    set(families_.attention_entropy_nats, labels, layer.attention_entropy_nats);
    set(families_.attention_logit_max, labels, layer.attention_logit_max);
}

}  // namespace kiban::monitoring
