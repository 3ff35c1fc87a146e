// SPDX-License-Identifier: Apache-2.0
#include "data/order.h"

#include "data/mixture.h"
#include "data/permutation.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

std::vector<double> weights_of(const std::vector<OrderSource>& sources) {
    std::vector<double> weights;
    for (const OrderSource& source : sources) weights.push_back(source.weight);
    return weights;
}

}  // namespace

struct SampleOrder::Impl {
    Mixture mixture;
    std::vector<Permutation> permutations;
};

SampleOrder::SampleOrder(std::vector<OrderSource> sources, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(Impl{Mixture(weights_of(sources)), {}})) {
    for (std::size_t index = 0; index < sources.size(); ++index) {
        if (sources[index].rows == 0) throw ConfigError("cannot order the rows: source {} has none", index);
        impl_->permutations.emplace_back(sources[index].rows, seed, sources[index].id);
    }
}

SampleOrder::~SampleOrder() = default;
SampleOrder::SampleOrder(SampleOrder&&) noexcept = default;
SampleOrder& SampleOrder::operator=(SampleOrder&&) noexcept = default;

RowRef SampleOrder::at(std::uint64_t position) const {
    const Mixture::Place place = impl_->mixture.at(position);
    const Permutation& permutation = impl_->permutations[place.source];
    const std::uint64_t epoch = place.count / permutation.size();
    return {place.source, epoch, permutation.forward(epoch, place.count % permutation.size())};
}

std::uint64_t SampleOrder::position_of(const RowRef& row) const {
    KIBAN_CHECK(row.source < impl_->permutations.size(), "source {} of {}", row.source, impl_->permutations.size());
    const Permutation& permutation = impl_->permutations[row.source];
    const std::uint64_t count = row.epoch * permutation.size() + permutation.inverse(row.epoch, row.row);
    return impl_->mixture.position_of(row.source, count);
}

}  // namespace kiban::data
