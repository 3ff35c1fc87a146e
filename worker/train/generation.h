// SPDX-License-Identifier: Apache-2.0
// Text from a trained model: the prompt's continuation, token by token. Runs in one process; the others of the step
// have nothing to do.
//
// Randomness is counter-based: token number i depends on (seed, i) alone.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "coordinator/protocol/messages.h"

namespace kiban::worker {

struct GenerationOptions {
    std::string prompt;             // empty: starts like a new document
    std::int64_t max_tokens = 256;  // added to the prompt; the end of a document ends it earlier
    double temperature = 0.8;       // 0: the likeliest token each time
    std::int64_t top_k = 0;         // only among the k likeliest; 0: all
    std::uint64_t seed = 1337;

    /// ConfigError naming the option that is malformed or out of range.
    static GenerationOptions of(const nlohmann::json& options);
};

/// Loads the job's checkpoint and returns the new text, without the prompt. CheckpointError, DataError, ConfigError.
std::string generate_text(const coordinator::Job& job);

/// The token that `uniform` in [0, 1) falls on when probabilities softmax(logits / temperature) are laid end to end by
/// id.
std::int64_t sample_token(std::span<const float> logits, double temperature, std::int64_t top_k, double uniform);

/// Uniform in [0, 1) for token number `index`.
double uniform_at(std::uint64_t seed, std::uint64_t index);

}  // namespace kiban::worker
