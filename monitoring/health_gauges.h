// SPDX-License-Identifier: Apache-2.0
// The gauges of ModelHealth: those of one evaluation at a time, and none before the first. Private to monitoring/. Its
// owner locks.
#pragma once

#include <cstdint>
#include <utility>
#include <vector>

#include "monitoring/metric_families.h"
#include "monitoring/model_health.h"

namespace kiban::monitoring {

class HealthGauges {
  public:
    explicit HealthGauges(MetricFamilies& families) : families_(families) {}

    /// In place of what was shown before. Of more than kMostLayersShown layers the first are shown, and of groups those
    /// of kTensorGroups, so that no caller can make the number of series grow without bound.
    void show(std::uint64_t step, const ModelHealth& health);
    void clear();

  private:
    using Gauges = MetricFamilies::Gauges;

    void set(Gauges& family, const prometheus::Labels& labels, double value);
    void set_group(const GroupNorms& norms);
    void set_layer(const LayerHealth& layer);

    MetricFamilies& families_;
    std::vector<std::pair<Gauges*, prometheus::Gauge*>> shown_;
};

}  // namespace kiban::monitoring
