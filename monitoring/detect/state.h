// SPDX-License-Identifier: Apache-2.0
// States of detectors as bytes and back: magic "KIBANDET", u32 version, u32 bytes of the state, the state, u32 CRC-32C
// of all before. Little-endian. Pure functions; any thread.
//
// A state is plain fields of eight bytes (std::uint64_t, double and arrays of them), so that its layout has no holes
// and equal states are equal bytes.
#pragma once

#include <cstdint>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>

namespace kiban::monitoring::detect {

/// Raised whenever a field of any state changes; states of another version are refused, and made anew from the curve.
inline constexpr std::uint32_t kStateVersion = 2;

std::string seal_state(std::string_view state);
/// The state inside `sealed`. IoError naming what was expected and found when it is not one of `bytes` bytes and of
/// this version, or is damaged.
std::string_view open_state(std::string_view sealed, std::size_t bytes);

template <typename State>
std::string save_state(const State& state) {
    static_assert(std::is_trivially_copyable_v<State> && sizeof(State) % 8 == 0);
    std::string raw(sizeof(State), '\0');
    std::memcpy(raw.data(), &state, sizeof(State));
    return seal_state(raw);
}

template <typename State>
State load_state(std::string_view sealed) {
    static_assert(std::is_trivially_copyable_v<State> && sizeof(State) % 8 == 0);
    State state;
    std::memcpy(static_cast<void*>(&state), open_state(sealed, sizeof(State)).data(), sizeof(State));
    return state;
}

}  // namespace kiban::monitoring::detect
