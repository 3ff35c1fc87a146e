// SPDX-License-Identifier: Apache-2.0
#include "worker/model/activation_observer.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "monitoring/error.h"
#include "worker/device/memory.h"

namespace kiban::worker {
namespace {

// Itself where it is fp32 on the host already.
at::Tensor floats_on_host(const at::Tensor& x) { return x.detach().to(at::kCPU, at::kFloat).contiguous(); }

}  // namespace

ActivationObserver::ActivationObserver(std::int64_t layers, std::int64_t width, bool geometry)
    : width_(width), geometry_(geometry) {
    seen_.layers.resize(static_cast<std::size_t>(layers));
    forget();
}

void ActivationObserver::forget() {
    for (ObservedLayer& each : seen_.layers)
        each = {.moments = {}, .direction = std::vector<double>(static_cast<std::size_t>(width_)), .attention = {}};
    seen_.largest_logit = seen_.logits = 0;
    seen_.embedding.reset();
}

ObservedLayer& ActivationObserver::layer(std::int64_t number) {
    KIBAN_CHECK(number >= 0 && number < static_cast<std::int64_t>(seen_.layers.size()),
                "observe layer {}: the model has {}", number, seen_.layers.size());
    return seen_.layers[static_cast<std::size_t>(number)];
}

void ActivationObserver::begin(std::int64_t rows, std::span<const std::int64_t> targets) {
    const auto last = std::find_if(targets.rbegin(), targets.rend(), [](std::int64_t target) { return target >= 0; });
    const std::int64_t per_row = static_cast<std::int64_t>(targets.size()) / rows;
    const std::int64_t used = targets.rend() - last;  // up to the last target
    rows_ = (used + per_row - 1) / per_row;
    tokens_ = rows_ * per_row;
}

void ActivationObserver::embedding(const float* table, std::int64_t vocabulary) {
    if (!geometry_) return;
    const std::vector<std::int64_t> sampled = sampled_embeddings(vocabulary);
    std::vector<float> rows(sampled.size() * static_cast<std::size_t>(width_));
    for (std::size_t i = 0; i < sampled.size(); ++i)
        to_host(table + sampled[i] * width_, width_, rows.data() + i * static_cast<std::size_t>(width_));
    seen_.embedding = embedding_geometry(static_cast<std::int64_t>(sampled.size()), width_, rows.data());
}

void ActivationObserver::block_output(std::int64_t number, std::int64_t first_token, const at::Tensor& x) {
    ObservedLayer& to = layer(number);
    const std::int64_t count = std::clamp<std::int64_t>(tokens_ - first_token, 0, x.size(0));
    if (count == 0) return;
    const at::Tensor values = floats_on_host(x.narrow(0, 0, count));
    add_moments(count, width_, values.data_ptr<float>(), to.moments, to.direction.data());
}

void ActivationObserver::attention(std::int64_t number, const at::Tensor& qkv, const AttentionShape& shape) {
    if (rows_ == 0) return;
    const at::Tensor values = floats_on_host(qkv.narrow(0, 0, rows_ * shape.tokens));
    add_attention(shape, rows_, values.data_ptr<float>(), layer(number).attention);
}

std::vector<std::int64_t> ActivationObserver::sampled_tokens(std::int64_t first_token, std::int64_t count) const {
    const std::int64_t stride = std::max<std::int64_t>(1, (tokens_ + kSampledTokens - 1) / kSampledTokens);
    std::vector<std::int64_t> sampled;
    for (std::int64_t token = (first_token + stride - 1) / stride * stride;
         token < std::min(tokens_, first_token + count); token += stride)
        sampled.push_back(token - first_token);
    return sampled;
}

void ActivationObserver::logits(const at::Tensor& logits) {
    seen_.largest_logit = std::max(seen_.largest_logit, logits.abs().max().item<double>());
    seen_.logits += static_cast<double>(logits.numel());
}

}  // namespace kiban::worker
