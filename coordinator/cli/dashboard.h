// SPDX-License-Identifier: Apache-2.0
// `kiban status --watch` in a terminal: position, curves in a line each, workers, events, no wider and no longer than
// the screen. Pure; any thread.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "coordinator/cli/named_run.h"
#include "monitoring/curve.h"

namespace kiban::coordinator {

struct Screen {
    std::size_t columns = 80;
    std::size_t lines = 24;
    bool color = true;  // escape sequences for colours; they take no room
};

/// The lines, without line ends; text that is too long is cut. `state`: in words; `rows`: the curve so far, which may
/// be some seconds older than the view.
std::vector<std::string> dashboard(const RunView& view, const std::string& state,
                                   const std::vector<monitoring::CurveRow>& rows,
                                   const std::vector<std::string>& events, const Screen& screen);

}  // namespace kiban::coordinator
