// SPDX-License-Identifier: Apache-2.0
// The curve record on another virtual time axis than steps (monitoring/curve.h).
#pragma once

#include <iosfwd>
#include <string>
#include <vector>

#include "monitoring/curve.h"

namespace kiban::monitoring {

enum class CurveAxis { step, tokens };

/// OpenMetrics text on a virtual time axis from 2000-01-01, so that runs overlay: a second is one step, or 100,000
/// tokens (of steps that end in the same millisecond, which is 100 tokens, the last is kept). Labels run, and axis
/// ("step" or "tokens").
void write_openmetrics(std::ostream& out, const std::vector<CurveRow>& rows, const std::string& run, CurveAxis axis);

}  // namespace kiban::monitoring
