// SPDX-License-Identifier: Apache-2.0
// What workers know of the network itself, once for each evaluation: norms of its parameters and of their last update,
// and how activations, attention, logits and the embedding look on the first held-out rows.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::monitoring {

/// Kinds of tensors, for norms. A head that is tied to the embedding counts as embedding.
inline constexpr std::array<std::string_view, 5> kTensorGroups = {"embedding", "attention", "mlp", "norm", "head"};

/// Layers of which more than this many exist are shown in part.
inline constexpr std::size_t kMostLayersShown = 64;

/// The layers of a model that are shown: all, or kMostLayersShown from the first to the last, evenly spaced.
inline std::vector<std::uint64_t> layers_shown(std::uint64_t layers) {
    const std::uint64_t count = std::min<std::uint64_t>(layers, kMostLayersShown);
    std::vector<std::uint64_t> shown;
    for (std::uint64_t i = 0; i < count; ++i) shown.push_back(count == 1 ? 0 : i * (layers - 1) / (count - 1));
    return shown;
}

struct GroupNorms {
    std::string group;      // of kTensorGroups
    double parameters = 0;  // after the update
    double update = 0;      // of the change that it made
};

struct LayerHealth {
    std::uint64_t layer = 0;
    double rms = 0;  // of the block's output, as the next two
    double largest = 0;
    double kurtosis = 0;
    double mean_cosine = 0;  // between the outputs of two tokens
    double attention_entropy_nats = 0;
    double attention_logit_max = 0;
};

struct ModelHealth {  // what was not looked at is absent; what cannot be said (of one token, a cosine) is NaN
    std::vector<GroupNorms> groups;
    std::optional<double> adam_second_moment_norm;
    std::vector<LayerHealth> layers;
    std::optional<double> output_logit_max;
    std::optional<double> embedding_effective_rank;
    std::optional<double> embedding_isotropy_ratio;
    std::optional<double> embedding_uniformity;
};

}  // namespace kiban::monitoring
