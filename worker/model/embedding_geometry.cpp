// SPDX-License-Identifier: Apache-2.0
#include "worker/model/embedding_geometry.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <tuple>

namespace kiban::worker {
namespace {

double effective_rank(const at::Tensor& singular_values) {
    const at::Tensor shares = singular_values / singular_values.sum();
    return std::exp(-at::xlogy(shares, shares).sum().item<double>());
}

// `along` [rows, directions]: the rows' parts along each direction.
double isotropy_ratio(const at::Tensor& along) {
    const double least =
        std::min(along.exp().sum(0).min().item<double>(), along.neg().exp().sum(0).min().item<double>());
    const double most =
        std::max(along.exp().sum(0).max().item<double>(), along.neg().exp().sum(0).max().item<double>());
    return least / most;
}

// |u - v|^2 = 2 - 2 u.v; each row's pair with itself is e^0 and is taken away.
double uniformity(const at::Tensor& x) {
    const at::Tensor lengths = x.norm(2, {1}, /*keepdim=*/true);
    const at::Tensor unit = (x / lengths).index({lengths.squeeze(1) > 0});
    const auto rows = static_cast<double>(unit.size(0));
    if (rows < 2) return std::numeric_limits<double>::quiet_NaN();
    const double sum = (at::matmul(unit, unit.t()) * 4 - 4).exp().sum().item<double>();
    return std::log((sum - rows) / (rows * (rows - 1)));
}

}  // namespace

std::vector<std::int64_t> sampled_embeddings(std::int64_t rows) {
    const std::int64_t sampled = std::min(rows, kSampledEmbeddings);
    std::vector<std::int64_t> numbers;
    for (std::int64_t i = 0; i < sampled; ++i) numbers.push_back(i * rows / sampled);
    return numbers;
}

EmbeddingGeometry embedding_geometry(std::int64_t rows, std::int64_t width, const float* x) {
    const at::NoGradGuard no_gradients;
    const at::Tensor given = at::empty({rows, width}, at::kFloat);
    std::copy_n(x, rows * width, given.data_ptr<float>());
    const at::Tensor table = given.to(at::kDouble);
    constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
    if (!at::isfinite(table).all().item<bool>() || table.abs().max().item<double>() == 0) return {kNone, kNone, kNone};
    const bool tall = rows > width;
    const at::Tensor gram = tall ? at::matmul(table.t(), table) : at::matmul(table, table.t());
    const auto [squares, vectors] = at::linalg_eigh(gram);
    const at::Tensor singular_values = squares.clamp_min(0).sqrt();
    return {.effective_rank = effective_rank(singular_values),
            .isotropy_ratio = isotropy_ratio(tall ? at::matmul(table, vectors) : vectors * singular_values),
            .uniformity = uniformity(table)};
}

}  // namespace kiban::worker
