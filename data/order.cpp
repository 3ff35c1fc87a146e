// SPDX-License-Identifier: Apache-2.0
#include "data/order.h"

#include <algorithm>

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

// One mixture, from where it begins.
struct Part {
    std::uint64_t first = 0;
    std::vector<std::uint64_t> before;  // rows of each source up to there
    Mixture mixture;
};

// How many of the first `length` positions of a mixture are of each source.
std::vector<std::uint64_t> appearances(const Mixture& mixture, std::size_t sources, std::uint64_t length) {
    std::vector<std::uint64_t> counts(sources);
    for (std::uint32_t source = 0; source < sources; ++source)
        counts[source] = length / mixture.period() * mixture.per_period(source);
    for (std::uint64_t slot = 0; slot < length % mixture.period(); ++slot) ++counts[mixture.at(slot).source];
    return counts;
}

void check(const std::vector<MixtureSegment>& mixture, std::size_t sources) {
    for (std::size_t i = 0; i < mixture.size(); ++i) {
        const bool ascends = i == 0 ? mixture[0].first == 0 : mixture[i].first > mixture[i - 1].first;
        const std::size_t least = i == 0 ? 1 : mixture[i - 1].weights.size();
        if (ascends && mixture[i].weights.size() >= least && mixture[i].weights.size() <= sources) continue;
        throw ConfigError(
            "cannot order the rows of {} sources: part {} of the mixture has {} weights from position {} on; expected "
            "{} to {} weights, positions that ascend and 0 as the first",
            sources, i, mixture[i].weights.size(), mixture[i].first, least, sources);
    }
}

std::vector<Part> parts_of(const std::vector<MixtureSegment>& mixture, std::size_t sources) {
    check(mixture, sources);
    std::vector<Part> parts;
    for (const MixtureSegment& segment : mixture) {
        std::vector<std::uint64_t> before(sources);
        if (!parts.empty()) {
            const Part& last = parts.back();
            before = last.before;
            const auto more = appearances(last.mixture, last.mixture.sources(), segment.first - last.first);
            for (std::size_t source = 0; source < more.size(); ++source) before[source] += more[source];
        }
        parts.push_back({segment.first, std::move(before), Mixture(segment.weights)});
    }
    return parts;
}

}  // namespace

nlohmann::json to_json(const std::vector<MixtureSegment>& mixture) {
    nlohmann::json json = nlohmann::json::array();
    for (const MixtureSegment& segment : mixture)
        json.push_back({{"first", segment.first}, {"weights", segment.weights}});
    return json;
}

std::vector<MixtureSegment> mixture_from_json(const nlohmann::json& json) {
    std::vector<MixtureSegment> mixture;
    const auto refuse = [&json] {
        throw ConfigError("expected a mixture as [{{\"first\": position, \"weights\": [...]}}, ...], found {}",
                          json.dump().substr(0, 64));
    };
    if (!json.is_array()) refuse();
    for (const nlohmann::json& entry : json) {
        if (!entry.is_object() || !entry.contains("first") || !entry["first"].is_number_unsigned() ||
            !entry.contains("weights") || !entry["weights"].is_array())
            refuse();
        MixtureSegment& segment = mixture.emplace_back();
        segment.first = entry["first"].get<std::uint64_t>();
        for (const nlohmann::json& weight : entry["weights"]) {
            if (!weight.is_number()) refuse();
            segment.weights.push_back(weight.get<double>());
        }
    }
    return mixture;
}

std::vector<MixtureSegment> continued(std::vector<MixtureSegment> before, std::uint64_t position,
                                      const std::vector<double>& weights) {
    std::erase_if(before, [position](const MixtureSegment& segment) { return segment.first >= position; });
    if (before.empty()) return {{0, weights}};
    if (before.back().weights != weights) before.push_back({position, weights});
    return before;
}

struct SampleOrder::Impl {
    const Part& part_at(std::uint64_t position) const {
        const auto after = std::ranges::upper_bound(parts, position, {}, &Part::first);
        return *(after - 1);
    }

    std::vector<Part> parts;  // ascending, at least one
    std::vector<Permutation> permutations;
};

SampleOrder::SampleOrder(std::vector<OrderSource> sources, std::uint64_t seed)
    : SampleOrder(sources, seed, {{0, weights_of(sources)}}) {}

SampleOrder::SampleOrder(std::vector<OrderSource> sources, std::uint64_t seed,
                         const std::vector<MixtureSegment>& mixture)
    : impl_(std::make_unique<Impl>(Impl{parts_of(mixture, sources.size()), {}})) {
    KIBAN_CHECK(!impl_->parts.empty(), "an order without a mixture");
    for (std::size_t index = 0; index < sources.size(); ++index) {
        if (sources[index].rows == 0) throw ConfigError("cannot order the rows: source {} has none", index);
        impl_->permutations.emplace_back(sources[index].rows, seed, sources[index].id);
    }
}

SampleOrder::~SampleOrder() = default;
SampleOrder::SampleOrder(SampleOrder&&) noexcept = default;
SampleOrder& SampleOrder::operator=(SampleOrder&&) noexcept = default;

RowRef SampleOrder::at(std::uint64_t position) const {
    const Part& part = impl_->part_at(position);
    const Mixture::Place place = part.mixture.at(position - part.first);
    const Permutation& permutation = impl_->permutations[place.source];
    const std::uint64_t count = part.before[place.source] + place.count;
    const std::uint64_t epoch = count / permutation.size();
    return {place.source, epoch, permutation.forward(epoch, count % permutation.size())};
}

// The keys of an epoch cost as much as a row, and neighbours are of few epochs.
void SampleOrder::at(std::uint64_t first, std::span<RowRef> rows) const {
    struct Epoch {
        std::uint64_t number = ~std::uint64_t{0};
        Permutation::Keys keys{};
    };
    std::vector<Epoch> epochs(impl_->permutations.size());
    for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::uint64_t position = first + i;
        const Part& part = impl_->part_at(position);
        const Mixture::Place place = part.mixture.at(position - part.first);
        const Permutation& permutation = impl_->permutations[place.source];
        const std::uint64_t count = part.before[place.source] + place.count;
        const std::uint64_t number = count / permutation.size();
        Epoch& epoch = epochs[place.source];
        if (epoch.number != number) epoch = {number, permutation.keys_of(number)};
        rows[i] = {place.source, number, permutation.forward(epoch.keys, count % permutation.size())};
    }
}

std::uint64_t SampleOrder::position_of(const RowRef& row) const {
    KIBAN_CHECK(row.source < impl_->permutations.size(), "source {} of {}", row.source, impl_->permutations.size());
    const Permutation& permutation = impl_->permutations[row.source];
    const std::uint64_t count = row.epoch * permutation.size() + permutation.inverse(row.epoch, row.row);
    auto part = impl_->parts.rbegin();
    while (row.source >= part->mixture.sources() || count < part->before[row.source]) {
        ++part;
        KIBAN_CHECK(part != impl_->parts.rend(), "row {} of source {} is in no part of the mixture", row.row,
                    row.source);
    }
    return part->first + part->mixture.position_of(row.source, count - part->before[row.source]);
}

}  // namespace kiban::data
