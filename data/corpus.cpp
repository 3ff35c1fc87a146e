// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"

#include "data/forgotten.h"
#include "data/shard.h"
#include "data/stream_reader.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

std::vector<Shard> open_shards(const Manifest& manifest) {
    std::vector<Shard> shards;
    shards.reserve(manifest.shards.size());
    for (const ManifestShard& entry : manifest.shards) {
        const Shard& shard = shards.emplace_back(manifest.directory / entry.file);
        if (shard.tokens() != entry.tokens || shard.bytes() != entry.bytes ||
            shard.vocabulary() != manifest.vocabulary || shard.tokenizer() != manifest.tokenizer) {
            throw DataError(
                "token shard '{}' is not the manifest's: expected {} tokens of '{}' in {} bytes, found {} of '{}' in "
                "{}",
                (manifest.directory / entry.file).string(), entry.tokens, manifest.tokenizer, entry.bytes,
                shard.tokens(), shard.tokenizer(), shard.bytes());
        }
    }
    return shards;
}

}  // namespace

struct Corpus::Impl {
    Impl(Manifest manifest_, const std::vector<double>& weights, std::uint32_t length, std::uint64_t seed,
         const RowLayout& layout, const std::set<DocumentId>& forgotten)
        : manifest(std::move(manifest_)),
          sequence_length(length),
          packing(layout.packing),
          shards(open_shards(manifest)),
          order(order_of(weights, seed, layout)) {
        if (!forgotten.empty()) hide(forgotten);
    }

    void hide(const std::set<DocumentId>& documents) {
        const std::int64_t end = manifest.load_tokenizer().end_of_document();
        for (std::size_t source = 0; source < manifest.sources.size(); ++source) {
            train[source].hide(ranges_of(documents, manifest.sources[source].train, shards), end);
            holdout[source].hide(ranges_of(documents, manifest.sources[source].holdout, shards), end);
        }
    }

    SampleOrder order_of(const std::vector<double>& weights, std::uint64_t seed, const RowLayout& layout) {
        if (weights.size() != manifest.sources.size()) {
            throw ConfigError("cannot mix the corpus: {} weights for its {} sources", weights.size(),
                              manifest.sources.size());
        }
        if (sequence_length < 1) throw ConfigError("data.sequence_length is 0, expected at least 1 token");
        std::vector<OrderSource> ordered;
        for (std::size_t index = 0; index < weights.size(); ++index) {
            const ManifestSource& source = manifest.sources[index];
            train.emplace_back(source.train, shards, sequence_length, layout);
            holdout.emplace_back(source.holdout, shards, sequence_length, layout);
            const std::uint64_t rows = train.back().rows();
            if (rows == 0) {
                throw DataError("cannot train on the data source '{}': it has {} tokens, expected at least 2",
                                source.name, source.train.tokens);
            }
            train_rows += rows;
            holdout_rows += holdout.back().rows();
            ordered.push_back({source.id, rows, weights[index]});
        }
        return SampleOrder(std::move(ordered), seed);
    }

    void check(const RowRange& rows, const RowParts& parts) const {
        const std::uint64_t tokens = rows.count * sequence_length;
        KIBAN_CHECK(parts.inputs.size() == tokens && parts.targets.size() == tokens &&
                        (parts.positions.empty() || parts.positions.size() == tokens),
                    "{} inputs, {} targets and {} positions for {} rows of {}", parts.inputs.size(),
                    parts.targets.size(), parts.positions.size(), rows.count, sequence_length);
    }

    RowParts row_of(const RowParts& rows, std::size_t index) const {
        const std::size_t first = index * sequence_length;
        const auto positions = rows.positions.empty() ? rows.positions : rows.positions.subspan(first, sequence_length);
        return {rows.inputs.subspan(first, sequence_length), rows.targets.subspan(first, sequence_length), positions};
    }

    Manifest manifest;
    std::uint32_t sequence_length;
    Packing packing;
    std::vector<Shard> shards;
    std::vector<StreamReader> train;  // by source
    std::vector<StreamReader> holdout;
    std::uint64_t train_rows = 0;
    std::uint64_t holdout_rows = 0;
    SampleOrder order;  // last: made from the streams above
};

Corpus::Corpus(Manifest manifest, const std::vector<double>& weights, std::uint32_t sequence_length, std::uint64_t seed,
               RowLayout layout, const std::set<DocumentId>& forgotten)
    : impl_(std::make_unique<Impl>(std::move(manifest), weights, sequence_length, seed, layout, forgotten)) {}

Corpus::~Corpus() = default;
Corpus::Corpus(Corpus&&) noexcept = default;

const Manifest& Corpus::manifest() const { return impl_->manifest; }
const SampleOrder& Corpus::order() const { return impl_->order; }
std::uint32_t Corpus::vocabulary() const { return impl_->manifest.vocabulary; }
std::uint32_t Corpus::sequence_length() const { return impl_->sequence_length; }
Packing Corpus::packing() const { return impl_->packing; }
std::uint64_t Corpus::train_rows() const { return impl_->train_rows; }
std::uint64_t Corpus::holdout_rows() const { return impl_->holdout_rows; }

void Corpus::read_train(RowRange rows, std::span<std::int64_t> inputs, std::span<std::int64_t> targets,
                        std::span<std::int32_t> positions) const {
    const RowParts parts{inputs, targets, positions};
    impl_->check(rows, parts);
    for (std::size_t i = 0; i < rows.count; ++i) {
        const RowRef row = impl_->order.at(rows.first + i);
        impl_->train[row.source].read_row(row.row, impl_->row_of(parts, i));
    }
}

void Corpus::read_holdout(RowRange rows, std::span<std::int64_t> inputs, std::span<std::int64_t> targets,
                          std::span<std::int32_t> positions) const {
    const RowParts parts{inputs, targets, positions};
    impl_->check(rows, parts);
    KIBAN_CHECK(rows.first + rows.count <= impl_->holdout_rows, "holdout rows {} to {} of {}", rows.first,
                rows.first + rows.count, impl_->holdout_rows);
    std::size_t source = 0;
    std::uint64_t before = 0;  // rows of the sources before this one
    for (std::size_t i = 0; i < rows.count; ++i) {
        while (rows.first + i >= before + impl_->holdout[source].rows()) before += impl_->holdout[source++].rows();
        impl_->holdout[source].read_row(rows.first + i - before, impl_->row_of(parts, i));
    }
}

}  // namespace kiban::data
