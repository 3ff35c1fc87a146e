// SPDX-License-Identifier: Apache-2.0
#include "data/mixture.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>
#include <queue>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::uint32_t kWeightUnits = 1u << 20;
constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

// Fixed point by largest remainder, so that the shares sum to kWeightUnits exactly; then divided by what they have in
// common.
std::vector<std::uint32_t> shares_of(const std::vector<double>& weights) {
    const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
    std::vector<std::uint32_t> shares;
    std::vector<double> remainders;
    for (const double weight : weights) {
        const double exact = weight / total * kWeightUnits;
        shares.push_back(static_cast<std::uint32_t>(exact));
        remainders.push_back(exact - std::floor(exact));
    }
    std::vector<std::size_t> order(weights.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto x, auto y) { return remainders[x] > remainders[y]; });
    std::uint64_t given = std::accumulate(shares.begin(), shares.end(), std::uint64_t{0});
    for (std::size_t i = 0; given < kWeightUnits; ++i, ++given) ++shares[order[i % order.size()]];
    std::uint32_t common = 0;
    for (std::size_t source = 0; source < shares.size(); ++source) {
        if (shares[source] == 0) {
            throw ConfigError(
                "cannot mix the data sources: source {} has weight {} of {} in all, expected at least 1/{} of it",
                source, weights[source], total, kWeightUnits);
        }
        common = std::gcd(common, shares[source]);
    }
    for (std::uint32_t& share : shares) share /= common;
    return shares;
}

void check(const std::vector<double>& weights) {
    if (weights.empty()) throw ConfigError("cannot mix the data sources: there are none, expected at least one");
    for (std::size_t source = 0; source < weights.size(); ++source) {
        if (!(weights[source] > 0) || !std::isfinite(weights[source])) {
            throw ConfigError("cannot mix the data sources: source {} has weight {}, expected a number above 0", source,
                              weights[source]);
        }
    }
}

// The slots (from 1) in which the j-th appearance (from 1) keeps the source within one of its share.
struct Window {
    std::uint64_t release = 0;
    std::uint64_t deadline = 0;
};

Window window_of(std::uint64_t j, std::uint64_t share, std::uint64_t period) {
    return {(j - 1) * period / share + 1, (j * period + share - 1) / share};
}

}  // namespace

Mixture::Mixture(const std::vector<double>& weights) {
    check(weights);
    const std::vector<std::uint32_t> shares = shares_of(weights);
    first_.push_back(0);
    for (const std::uint32_t share : shares) first_.push_back(first_.back() + share);
    period_ = first_.back();
    source_at_.resize(period_);
    rank_at_.resize(period_);
    places_.resize(period_);
    interleave(shares);
}

void Mixture::interleave(const std::vector<std::uint32_t>& shares) {
    using Job =
        std::uint64_t;  // deadline << 32 | source: the earliest deadline is the smallest, ties go to the first source
    std::priority_queue<Job, std::vector<Job>, std::greater<>> ready;
    std::vector<std::uint32_t> waiting(period_ + 2,
                                       kNone);  // slot -> first source released there; next_ links the others
    std::vector<std::uint32_t> next(shares.size(), kNone);
    std::vector<std::uint32_t> done(shares.size(), 0);
    for (std::uint32_t source = 0; source < shares.size(); ++source) {
        ready.push(window_of(1, shares[source], period_).deadline << 32 | source);
    }
    for (std::uint64_t slot = 1; slot <= period_; ++slot) {
        for (std::uint32_t source = waiting[slot]; source != kNone; source = next[source]) {
            ready.push(window_of(done[source] + 1u, shares[source], period_).deadline << 32 | source);
        }
        KIBAN_CHECK(!ready.empty() && (ready.top() >> 32) >= slot, "slot {} of {} has no source in time", slot,
                    period_);
        const auto source = static_cast<std::uint32_t>(ready.top());
        ready.pop();
        source_at_[slot - 1] = source;
        rank_at_[slot - 1] = done[source];
        places_[first_[source] + done[source]] = static_cast<std::uint32_t>(slot - 1);
        if (++done[source] == shares[source]) continue;
        const std::uint64_t release = std::max(window_of(done[source] + 1u, shares[source], period_).release, slot + 1);
        next[source] = waiting[release];
        waiting[release] = source;
    }
}

Mixture::Place Mixture::at(std::uint64_t position) const {
    const std::uint64_t slot = position % period_;
    const std::uint32_t source = source_at_[slot];
    return {source, position / period_ * per_period(source) + rank_at_[slot]};
}

std::uint64_t Mixture::position_of(std::uint32_t source, std::uint64_t count) const {
    KIBAN_CHECK(source + 1u < first_.size(), "source {} of {}", source, first_.size() - 1);
    const std::uint64_t share = per_period(source);
    return count / share * period_ + places_[first_[source] + count % share];
}

}  // namespace kiban::data
