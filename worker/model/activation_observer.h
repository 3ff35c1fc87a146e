// SPDX-License-Identifier: Apache-2.0
// Looks at one micro-batch on its way through the model, forward alone, and changes nothing: what the blocks put out,
// how attention is spread, how large logits are, how the embedding lies.
//
// What it saw are sums and largest values, so that the observers of workers that share out tokens, heads or layers add
// up to one that saw everything (worker/train/health.h). Rows at the end of the micro-batch that have no target are
// filling and are not looked at. One thread.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "worker/kernels/activation_statistics.h"
#include "worker/model/embedding_geometry.h"

namespace at {
class Tensor;
}

namespace kiban::worker {

struct ObservedLayer {
    Moments moments;                // of the block's output, which is the residual stream
    std::vector<double> direction;  // [D], of its tokens
    AttentionSums attention;
};

struct Observed {
    std::vector<ObservedLayer> layers;  // of the whole model; zeros where another worker has the layer
    double largest_logit = 0;           // magnitude, of the sampled tokens
    double logits = 0;                  // looked at
    std::optional<EmbeddingGeometry> embedding;
};

class ActivationObserver {
  public:
    /// `geometry`: whether this one looks at the embedding, where it is here; one observer of the workers does.
    ActivationObserver(std::int64_t layers, std::int64_t width, bool geometry);

    /// Forgets what it saw.
    void forget();
    const Observed& seen() const { return seen_; }

    // Called by the model.
    void begin(std::int64_t rows, std::span<const std::int64_t> targets);
    /// A table [vocabulary, D] on the device.
    void embedding(const float* table, std::int64_t vocabulary);
    /// x [tokens here, D] after a layer; its first token is number `first_token` of the micro-batch.
    void block_output(std::int64_t layer, std::int64_t first_token, const at::Tensor& x);
    /// Turned queries and keys, packed as for attention.
    void attention(std::int64_t layer, const at::Tensor& qkv, const AttentionShape& shape);
    /// Which of `count` tokens from `first_token` on have their logits looked at, counted from `first_token`: of the
    /// micro-batch at most kSampledTokens, evenly spaced.
    std::vector<std::int64_t> sampled_tokens(std::int64_t first_token, std::int64_t count) const;
    void logits(const at::Tensor& logits);

    static constexpr std::int64_t kSampledTokens = 64;

  private:
    ObservedLayer& layer(std::int64_t number);

    std::int64_t width_;
    bool geometry_;
    std::int64_t rows_ = 0;    // that are not filling
    std::int64_t tokens_ = 0;  // of them
    Observed seen_;
};

}  // namespace kiban::worker
