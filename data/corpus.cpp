// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"

#include <algorithm>
#include <array>

#include "data/forgotten.h"
#include "data/shard.h"
#include "data/stream_reader.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::uint64_t kRowsAtOnce =
    32;  // whose waits for memory overlap: more lines than that are not fetched at once

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
    Impl(Manifest manifest_, const std::vector<double>& weights, std::uint32_t length, std::uint64_t seed_,
         const RowLayout& layout, const std::set<DocumentId>& forgotten)
        : manifest(std::move(manifest_)),
          sequence_length(length),
          documents_apart(layout.documents_apart),
          seed(seed_),
          shards(open_shards(manifest)),
          order(order_of(weights, layout)) {
        if (!forgotten.empty()) hide(forgotten);
    }

    void hide(const std::set<DocumentId>& documents) {
        const std::int64_t end = manifest.load_tokenizer().end_of_document();
        for (std::size_t source = 0; source < manifest.sources.size(); ++source) {
            train[source].hide(ranges_of(documents, manifest.sources[source].train, shards), end);
            holdout[source].hide(ranges_of(documents, manifest.sources[source].holdout, shards), end);
        }
    }

    SampleOrder order_of(const std::vector<double>& weights, const RowLayout& layout) {
        if (weights.size() != manifest.sources.size()) {
            throw ConfigError("cannot mix the corpus: {} weights for its {} sources", weights.size(),
                              manifest.sources.size());
        }
        if (sequence_length < 1) throw ConfigError("data.sequence_length is 0, expected at least 1 token");
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
        }
        return SampleOrder(ordered_sources(), seed, {{0, weights}});
    }

    std::vector<OrderSource> ordered_sources() const {
        std::vector<OrderSource> ordered;
        for (std::size_t index = 0; index < train.size(); ++index)
            ordered.push_back({.id = manifest.sources[index].id, .rows = train[index].rows()});
        return ordered;
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
    bool documents_apart;
    std::uint64_t seed;
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

void Corpus::mix(const std::vector<MixtureSegment>& mixture) {
    impl_->order = SampleOrder(impl_->ordered_sources(), impl_->seed, mixture);
}

const Manifest& Corpus::manifest() const { return impl_->manifest; }
const SampleOrder& Corpus::order() const { return impl_->order; }
std::uint32_t Corpus::vocabulary() const { return impl_->manifest.vocabulary; }
std::uint32_t Corpus::sequence_length() const { return impl_->sequence_length; }
bool Corpus::documents_apart() const { return impl_->documents_apart; }
std::uint64_t Corpus::train_rows() const { return impl_->train_rows; }
std::vector<std::uint64_t> Corpus::rows_by_source() const {
    std::vector<std::uint64_t> rows;
    for (const StreamReader& source : impl_->train) rows.push_back(source.rows());
    return rows;
}
std::uint64_t Corpus::holdout_rows() const { return impl_->holdout_rows; }

std::vector<TokenRange> Corpus::tokens_of(std::uint32_t source, std::uint64_t row) const {
    return impl_->train.at(source).tokens_of(row);
}

std::vector<std::uint64_t> Corpus::rows_with(std::uint32_t source, const TokenRange& range) const {
    return impl_->train.at(source).rows_with(range);
}

void Corpus::read_train(RowRange rows, std::span<std::int64_t> inputs, std::span<std::int64_t> targets,
                        std::span<std::int32_t> positions) const {
    const RowParts parts{inputs, targets, positions};
    impl_->check(rows, parts);
    std::array<RowRef, kRowsAtOnce> refs;
    for (std::uint64_t done = 0; done < rows.count; done += kRowsAtOnce) {
        const auto now = std::span(refs).first(static_cast<std::size_t>(std::min(kRowsAtOnce, rows.count - done)));
        impl_->order.at(rows.first + done, now);
        for (int which = 0; which < StreamReader::kFetches; ++which) {
            for (const RowRef& row : now) impl_->train[row.source].fetch(row.row, which);
        }
        for (std::size_t i = 0; i < now.size(); ++i)
            impl_->train[now[i].source].read_row(now[i].row, impl_->row_of(parts, static_cast<std::size_t>(done) + i));
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
