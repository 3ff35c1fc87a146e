// SPDX-License-Identifier: Apache-2.0
// Reads what RunMetrics::text() writes (Prometheus text format 0.0.4: counters, gauges, histograms). Private to
// monitoring/. Pure; any thread.
#pragma once

#include <prometheus/metric_family.h>

#include <string_view>
#include <vector>

namespace kiban::monitoring {

/// In the order of the text. DataError naming the line that cannot be understood.
std::vector<prometheus::MetricFamily> read_exposition(std::string_view text);

}  // namespace kiban::monitoring
