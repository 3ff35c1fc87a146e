// SPDX-License-Identifier: Apache-2.0
// The sample order: which row stands at which position, as a pure function of (sources, seed, position).
//
// A Feistel permutation per source epoch (data/permutation.h) under a closed-form stratified mixture (data/mixture.h;
// shares are rounded to 2^-20). No state, O(1) at any position, invertible, independent of the number of workers.
// Position p of step s and row i of a batch of B rows is s*B + i. Thread-safe. Definition: data/FORMAT.md.
#pragma once

#include <cstdint>
#include <memory>
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

class SampleOrder {
  public:
    /// ConfigError for no sources, a source without rows or a weight that is not above 0.
    SampleOrder(std::vector<OrderSource> sources, std::uint64_t seed);
    ~SampleOrder();
    SampleOrder(SampleOrder&&) noexcept;
    SampleOrder& operator=(SampleOrder&&) noexcept;

    RowRef at(std::uint64_t position) const;
    /// The inverse of at().
    std::uint64_t position_of(const RowRef& row) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::data
