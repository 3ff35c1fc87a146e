// SPDX-License-Identifier: Apache-2.0
// The columns of curve.h5, in the order of the file: how each comes out of a row and goes back. Internal to this room.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>
#include <type_traits>
#include <utility>

#include "monitoring/curve.h"

namespace kiban::checkpoint {

inline constexpr const char* kCurveName = "curve.h5";

enum class CurveType { u32, u64, f64 };  // little-endian; f64 is IEEE 754 binary64

struct CurveColumn {
    std::string_view name;
    CurveType type = CurveType::f64;
    std::size_t bytes = 8;  // of an element
    bool optional = false;  // version 1 of the file has none
    void (*get)(const monitoring::CurveRow& row, std::byte* to) = nullptr;
    void (*set)(monitoring::CurveRow& row, const std::byte* from) = nullptr;
};

template <auto Member>
constexpr CurveColumn curve_column(std::string_view name, CurveType type, bool optional = false) {
    using Value = std::remove_reference_t<decltype(std::declval<monitoring::CurveRow&>().*Member)>;
    return {name,
            type,
            sizeof(Value),
            optional,
            [](const monitoring::CurveRow& row, std::byte* to) { std::memcpy(to, &(row.*Member), sizeof(Value)); },
            [](monitoring::CurveRow& row, const std::byte* from) { std::memcpy(&(row.*Member), from, sizeof(Value)); }};
}

inline constexpr std::array<CurveColumn, 11> kCurveColumns{
    curve_column<&monitoring::CurveRow::step>("step", CurveType::u64),
    curve_column<&monitoring::CurveRow::tokens>("tokens", CurveType::u64),
    curve_column<&monitoring::CurveRow::loss>("loss", CurveType::f64),
    curve_column<&monitoring::CurveRow::learning_rate>("learning_rate", CurveType::f64),
    curve_column<&monitoring::CurveRow::grad_norm>("grad_norm", CurveType::f64),
    curve_column<&monitoring::CurveRow::eval_loss>("eval_loss", CurveType::f64),
    curve_column<&monitoring::CurveRow::step_seconds>("step_seconds", CurveType::f64),
    curve_column<&monitoring::CurveRow::wall_time>("wall_time", CurveType::f64),
    curve_column<&monitoring::CurveRow::attempt>("attempt", CurveType::u32),
    curve_column<&monitoring::CurveRow::eval_accuracy>("eval_accuracy", CurveType::f64, true),
    curve_column<&monitoring::CurveRow::eval_targets>("eval_targets", CurveType::u64, true)};

}  // namespace kiban::checkpoint
