// SPDX-License-Identifier: Apache-2.0
// Muon for the matrices of the blocks (Jordan et al. 2024, "Muon: An optimizer for hidden layers in neural networks"):
// Nesterov momentum, whose update of a matrix is replaced by a nearly orthogonal one.
//
// A step of one matrix: muon_momentum on any cut of it, orthogonalise on the whole, muon_apply on any cut. Decay and
// scale are those of Liu et al. 2025 ("Muon is scalable for LLM training", section 2.2). Matrices are row-major fp32.
// Uses the OpenMP threads of the process.
#pragma once

#include <cstdint>
#include <vector>

namespace kiban::worker {

struct MuonStep {
    double learning_rate = 0;
    double momentum = 0.95;
    double weight_decay = 0;
    double gradient_scale = 1;  // the clipping factor
};

/// With g = gradient_scale * gradient: buffer = momentum * buffer + g; update = g + momentum * buffer. `count` floats
/// each; update may be gradient. An element's bits depend on its own inputs alone, not on the range it stands in.
void muon_momentum(const MuonStep& step, std::int64_t count, const float* gradient, float* buffer, float* update);

/// Replaces g [rows, cols] by nearly U V^T of its singular value decomposition U S V^T: divided by its Frobenius norm +
/// 1e-7, then five steps X <- aX + (bA + cA^2)X with A = XX^T (of the transpose when rows > cols), a, b, c = 3.4445,
/// -4.7750, 2.0315 (Jordan et al. 2024). A singular value above 0.002 of the norm comes between 0.68 and 1.21, a
/// smaller one is multiplied by up to 485. Zeros stay zeros; a NaN or an infinity makes all of it NaN. `work` grows to
/// rows * cols + 2 min(rows, cols)^2 floats and may be used again. Bit-equal for the same g and thread count.
void orthogonalise(std::int64_t rows, std::int64_t cols, float* g, std::vector<float>& work);

/// 0.2 sqrt(max(rows, cols)): gives an orthogonal [rows, cols] the root mean square of AdamW's updates, about 0.2, so
/// that one learning rate serves both (Liu et al. 2025, section 2.2).
double muon_scale(std::int64_t rows, std::int64_t cols);

/// value *= 1 - learning_rate * weight_decay; value -= learning_rate * scale * direction. `count` floats each. An
/// element's bits depend on its own inputs alone, not on the range it stands in.
void muon_apply(const MuonStep& step, double scale, std::int64_t count, const float* direction, float* value);

}  // namespace kiban::worker
