// SPDX-License-Identifier: Apache-2.0
// The standard process_* metrics of this process (prometheus.io/docs/instrumenting/writing_clientlibs), read from
// /proc/self when collected. Private to monitoring/. Thread-safe. A value that the system does not give is left out.
#pragma once

#include <prometheus/collectable.h>
#include <prometheus/metric_family.h>

#include <string>
#include <vector>

namespace kiban::monitoring {

class ProcessMetrics : public prometheus::Collectable {
  public:
    explicit ProcessMetrics(std::string run) : run_(std::move(run)) {}

    std::vector<prometheus::MetricFamily> Collect() const override;

  private:
    std::string run_;
};

}  // namespace kiban::monitoring
