// SPDX-License-Identifier: Apache-2.0
// The shapes that the benchmarks train.
#pragma once

#include <cstdint>
#include <string>

#include "coordinator/job/model_config.h"
#include "monitoring/error.h"

namespace kiban::worker {

struct Shape {
    const char* name;
    std::int64_t vocabulary, layers, d_model, heads, tokens, rows;

    coordinator::ModelConfig model() const {
        coordinator::ModelConfig config;
        config.layers = layers;
        config.d_model = d_model;
        config.heads = heads;
        return config;
    }
};

inline constexpr Shape kShapes[] = {
    {"A", 256, 4, 128, 4, 64, 12},
    {"B", 8192, 6, 384, 6, 256, 8},
    {"C64", 50304, 12, 768, 12, 64, 4},
    {"C256", 50304, 12, 768, 12, 256, 2},
    {"M200", 257, 16, 1024, 16, 64, 4}};  // 201 million parameters, all but few in layers

inline Shape shape_called(const std::string& name) {
    for (const Shape& shape : kShapes)
        if (name == shape.name) return shape;
    throw UsageError("unknown shape '{}'; known: A, B, C64, C256, M200", name);
}

}  // namespace kiban::worker
