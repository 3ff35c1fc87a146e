// SPDX-License-Identifier: Apache-2.0
#include "worker/kernels/activation_statistics.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "worker/kernels/simd.h"

namespace kiban::worker {
namespace {

struct RowMoments {
    double sum, squares, cubes, fourths;
    float largest;
};

KIBAN_SIMD RowMoments row_moments(std::int64_t width, const float* x) {
    double sum = 0;
    double squares = 0;
    double cubes = 0;
    double fourths = 0;
    float largest = 0;
#pragma omp simd reduction(+ : sum, squares, cubes, fourths) reduction(max : largest)
    for (std::int64_t i = 0; i < width; ++i) {
        const auto value = static_cast<double>(x[i]);
        const double square = value * value;
        sum += value;
        squares += square;
        cubes += square * value;
        fourths += square * square;
        const float magnitude = x[i] < 0.0F ? -x[i] : x[i];
        largest = magnitude > largest ? magnitude : largest;
    }
    return {sum, squares, cubes, fourths, largest};
}

KIBAN_SIMD void add_scaled_row(std::int64_t width, double factor, const float* x, double* sums) {
#pragma omp simd
    for (std::int64_t i = 0; i < width; ++i) sums[i] += factor * static_cast<double>(x[i]);
}

KIBAN_SIMD void scores_of_query(std::int64_t keys, std::int64_t size, std::int64_t stride, float scale, const float* q,
                                const float* k, float* scores) {
    for (std::int64_t key = 0; key < keys; ++key) {
        const float* at = k + key * stride;
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (std::int64_t i = 0; i < size; ++i) sum += q[i] * at[i];
        scores[key] = scale * sum;
    }
}

struct QueryEntropy {
    double nats;
    float largest;
};

// With p = e^(s - m) / sum: H = log sum - (sum of p (s - m)).
KIBAN_SIMD QueryEntropy entropy_of(std::int64_t keys, const float* scores) {
    float largest = scores[0];
#pragma omp simd reduction(max : largest)
    for (std::int64_t i = 0; i < keys; ++i) largest = scores[i] > largest ? scores[i] : largest;
    double sum = 0;
    double weighted = 0;
#pragma omp simd reduction(+ : sum, weighted)
    for (std::int64_t i = 0; i < keys; ++i) {
        const float below = scores[i] - largest;
        const auto e = static_cast<double>(simd_exp(below));
        sum += e;
        weighted += e * static_cast<double>(below);
    }
    return {std::log(sum) - weighted / sum, largest};
}

AttentionSums sums_of_head(const AttentionShape& shape, std::int64_t row, std::int64_t head, const float* qkv,
                           std::vector<float>& scores) {
    const std::int64_t stride = shape.packed_width();
    const std::int64_t kv = head / (shape.heads / shape.kv_heads);
    const float* begin = qkv + row * shape.tokens * stride;
    const float* q = begin + head * shape.head_size;
    const float* k = begin + (shape.heads + kv) * shape.head_size;
    const float scale = 1.0F / std::sqrt(static_cast<float>(shape.head_size));
    const std::int64_t sampled = std::min(kSampledQueries, shape.tokens);
    AttentionSums sums;
    for (std::int64_t i = 1; i <= sampled; ++i) {
        const std::int64_t end = i * shape.tokens / sampled;  // behind the query
        const std::int64_t first = shape.first_key(row, end - 1);
        const std::int64_t keys = end - first;  // the query is the last of them
        scores_of_query(keys, shape.head_size, stride, scale, q + (end - 1) * stride, k + first * stride,
                        scores.data());
        const QueryEntropy query = entropy_of(keys, scores.data());
        sums.entropy_nats += query.nats;
        sums.queries += 1;
        sums.largest = std::max(sums.largest, static_cast<double>(query.largest));
    }
    return sums;
}

}  // namespace

double Moments::rms() const { return std::sqrt(squares / count); }

double Moments::kurtosis() const {
    const double mean = sum / count;
    const double square = squares / count;
    const double variance = square - mean * mean;
    const double fourth = fourths / count - 4 * mean * cubes / count + 6 * mean * mean * square - 3 * std::pow(mean, 4);
    return fourth / (variance * variance);
}

void add_moments(std::int64_t rows, std::int64_t width, const float* x, Moments& moments, double* direction) {
    for (std::int64_t row = 0; row < rows; ++row) {
        const float* values = x + row * width;
        const RowMoments here = row_moments(width, values);
        moments.count += static_cast<double>(width);
        moments.sum += here.sum;
        moments.squares += here.squares;
        moments.cubes += here.cubes;
        moments.fourths += here.fourths;
        moments.largest = std::max(moments.largest, static_cast<double>(here.largest));
        if (here.squares == 0) continue;
        moments.directions += 1;
        add_scaled_row(width, 1.0 / std::sqrt(here.squares), values, direction);
    }
}

double mean_cosine(double count, const double* direction, std::int64_t width) {
    if (count < 2) return std::nan("");
    double square = 0;
    for (std::int64_t i = 0; i < width; ++i) square += direction[i] * direction[i];
    return (square - count) / (count * (count - 1));
}

void add_attention(const AttentionShape& shape, std::int64_t rows, const float* qkv, AttentionSums& sums) {
    const std::int64_t tasks = rows * shape.heads;
    std::vector<AttentionSums> of_task(static_cast<std::size_t>(tasks));
#pragma omp parallel
    {
        std::vector<float> scores(static_cast<std::size_t>(shape.tokens));
#pragma omp for schedule(static)
        for (std::int64_t task = 0; task < tasks; ++task)
            of_task[static_cast<std::size_t>(task)] =
                sums_of_head(shape, task / shape.heads, task % shape.heads, qkv, scores);
    }
    for (const AttentionSums& part : of_task) {
        sums.entropy_nats += part.entropy_nats;
        sums.queries += part.queries;
        sums.largest = std::max(sums.largest, part.largest);
    }
}

}  // namespace kiban::worker
