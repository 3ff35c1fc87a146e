// SPDX-License-Identifier: Apache-2.0
// Reads what RunMetrics::text() writes (Prometheus text format 0.0.4: counters, gauges, histograms). Private to
// monitoring/. Pure; any thread.
#pragma once

#include <prometheus/metric_family.h>

#include <string_view>
#include <vector>

namespace kiban::monitoring {

/// In the order of the text. DataError naming the line that cannot be understood, or that Prometheus would refuse: it
/// refuses the whole of a scrape for one name that is none, a label given twice, or text that is no UTF-8.
std::vector<prometheus::MetricFamily> read_exposition(std::string_view text);

}  // namespace kiban::monitoring
