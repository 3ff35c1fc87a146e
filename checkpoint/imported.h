// SPDX-License-Identifier: Apache-2.0
// A checkpoint that no corpus stands behind: its weights came from elsewhere (`kiban import`), or its run goes on with
// other rows (`kiban fork`).
#pragma once

#include "checkpoint/state.h"

namespace kiban::checkpoint {

/// Of step 0 and of no corpus: no row was seen and nothing was computed yet, so any corpus, seed and world continues
/// it, and exactly.
inline bool is_import(const RunState& state) { return state.step == 0 && state.data_digest.empty(); }

/// Its next row is the first one of whatever corpus, seed and row length the run file names.
inline bool is_unbound(const RunState& state) { return state.data_digest.empty() && state.position == 0; }

}  // namespace kiban::checkpoint
