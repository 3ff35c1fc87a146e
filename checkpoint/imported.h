// SPDX-License-Identifier: Apache-2.0
// A checkpoint whose weights came from elsewhere (`kiban import`).
#pragma once

#include "checkpoint/state.h"

namespace kiban::checkpoint {

/// Of step 0 and of no corpus: no row was seen and nothing was computed yet, so any corpus, seed and world continues
/// it, and exactly.
inline bool is_import(const RunState& state) { return state.step == 0 && state.data_digest.empty(); }

}  // namespace kiban::checkpoint
