// SPDX-License-Identifier: Apache-2.0
// Which source stands at which position: a fixed interleaving, repeated for ever, in which after any p positions source
// s has appeared within one of weight_s * p times (Tijdeman, "The chairman assignment problem", 1980; built by earliest
// deadline first over the windows of Baruah et al., "Proportionate Progress", Algorithmica 1996). Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

namespace kiban::data {

class Mixture {
  public:
    struct Place {
        std::uint32_t source = 0;
        std::uint64_t count = 0;  // how often the source appeared before
    };

    /// ConfigError for no weights, a weight that is not above 0, or a share below 1/2^20.
    explicit Mixture(const std::vector<double>& weights);

    Place at(std::uint64_t position) const;
    /// The position at which `source` appears for the count-th time, from 0; the inverse of at().
    std::uint64_t position_of(std::uint32_t source, std::uint64_t count) const;
    std::uint64_t period() const { return period_; }
    std::size_t sources() const { return first_.size() - 1; }
    /// Appearances of `source` in one period.
    std::uint64_t per_period(std::uint32_t source) const { return first_[source + 1] - first_[source]; }

  private:
    void interleave(const std::vector<std::uint32_t>& shares);

    std::uint64_t period_ = 0;
    std::vector<std::uint32_t> source_at_;  // by position within a period
    std::vector<std::uint32_t> rank_at_;    // appearances of that source before, within the period
    std::vector<std::uint64_t> first_;      // source -> its first entry in places_
    std::vector<std::uint32_t> places_;     // positions within a period, grouped by source
};

}  // namespace kiban::data
