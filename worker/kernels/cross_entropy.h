// SPDX-License-Identifier: Apache-2.0
// Softmax cross-entropy over the vocabulary, in place.
//
// Use the OpenMP threads of the process; the results do not depend on their number. NaN or infinite logits give a NaN
// loss.
#pragma once

#include <cstdint>
#include <span>

namespace kiban::worker {

/// losses[row] = logsumexp(logits[row]) - logits[row, target], in nats; 0 where the target is -1. Rows of `vocabulary`
/// floats. Returns how many rows have no logit above that of their target: what the model would have said first.
std::int64_t cross_entropy(std::int64_t vocabulary, const float* logits, std::span<const std::int64_t> targets,
                           std::span<double> losses);

/// The same, and each row of logits is replaced by the gradient of scale * (loss + z_loss * lse^2), lse being
/// logsumexp(logits[row]): scale * (softmax * (1 + 2 z_loss lse) - one_hot(target)), or zeros where the target is -1.
/// `z_loss` is the coefficient of the z-loss (Chowdhery et al. 2022, PaLM, section 5: 1e-4), which holds lse near 0. It
/// enters the gradient alone: `losses` stay the cross-entropies.
void cross_entropy_with_gradient(std::int64_t vocabulary, float scale, float* logits,
                                 std::span<const std::int64_t> targets, std::span<double> losses, double z_loss = 0);

}  // namespace kiban::worker
