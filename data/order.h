// SPDX-License-Identifier: Apache-2.0
// The sample order: which row stands at which position, as a pure function of (sources, seed, position).
//
// A Feistel permutation per source epoch (data/permutation.h) under a closed-form stratified mixture (data/mixture.h;
// shares are rounded to 2^-20). No state, O(1) at any position, invertible, independent of the number of workers.
// Position p of step s and row i of a batch of B rows is s*B + i. Where the mixture changes, each source goes on with
// its own next row: none comes again before its epoch is over, and none is passed over. Thread-safe. Definition:
// data/FORMAT.md.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace kiban::data {

struct OrderSource {
    std::string id;          // keys its permutation
    std::uint64_t rows = 0;  // at least 1
    double weight = 1.0;     // above 0
};

struct RowRef {
    std::uint32_t source = 0;
    std::uint64_t epoch = 0;  // of that source
    std::uint64_t row = 0;    // in [0, rows)
    bool operator==(const RowRef&) const = default;
};

struct MixtureSegment {  // the mixture from position `first` on
    std::uint64_t first = 0;
    std::vector<double> weights;  // of the first so many sources; those behind them come later

    bool operator==(const MixtureSegment&) const = default;
};

nlohmann::json to_json(const std::vector<MixtureSegment>& mixture);  // [{"first": p, "weights": [...]}, ...]
/// ConfigError when it is no such list.
std::vector<MixtureSegment> mixture_from_json(const nlohmann::json& json);

/// The mixture of an order that was `before` up to `position` (empty: nothing was read), and has these weights from
/// there on. Pure; segments that would begin later never came to be.
std::vector<MixtureSegment> continued(std::vector<MixtureSegment> before, std::uint64_t position,
                                      const std::vector<double>& weights);

class SampleOrder {
  public:
    /// ConfigError for no sources, a source without rows or a weight that is not above 0.
    SampleOrder(std::vector<OrderSource> sources, std::uint64_t seed);
    /// With a mixture that changes; the sources' own weights are not read. ConfigError for a list that does not begin
    /// at position 0, does not ascend, or loses or lacks sources.
    SampleOrder(std::vector<OrderSource> sources, std::uint64_t seed, const std::vector<MixtureSegment>& mixture);
    ~SampleOrder();
    SampleOrder(SampleOrder&&) noexcept;
    SampleOrder& operator=(SampleOrder&&) noexcept;

    RowRef at(std::uint64_t position) const;
    /// Those at `first` and behind it, as many as there is room for: at() for each, in less time.
    void at(std::uint64_t first, std::span<RowRef> rows) const;
    /// The inverse of at().
    std::uint64_t position_of(const RowRef& row) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::data
