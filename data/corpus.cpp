// SPDX-License-Identifier: Apache-2.0
#include "data/corpus.h"

#include <algorithm>

#include "data/shard.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

// A stream as one address space over its segments.
class StreamReader {
  public:
    StreamReader(const Stream& stream, const std::vector<Shard>& shards)
        : segments_(stream.segments), shards_(&shards) {
        for (const Segment& segment : segments_) {
            starts_.push_back(tokens_);
            tokens_ += segment.end - segment.begin;
        }
    }

    std::uint64_t rows(std::uint64_t sequence_length) const {
        return tokens_ < 2 ? 0 : (tokens_ - 2) / sequence_length + 1;
    }

    /// Row k covers tokens kT .. kT+T; what the stream does not have is masked.
    void read_row(std::uint64_t row, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const {
        const std::uint64_t first = row * inputs.size();
        const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(inputs.size(), tokens_ - 1 - first));
        copy(first, inputs.first(count));
        copy(first + 1, targets.first(count));
        std::ranges::fill(inputs.subspan(count), 0);
        std::ranges::fill(targets.subspan(count), kMasked);
    }

  private:
    void copy(std::uint64_t first, std::span<std::int64_t> ids) const {
        auto index = static_cast<std::size_t>(std::ranges::upper_bound(starts_, first) - starts_.begin() - 1);
        while (!ids.empty()) {
            const Segment& segment = segments_[index];
            const std::uint64_t begin = segment.begin + first - starts_[index];
            const auto count = static_cast<std::size_t>(std::min<std::uint64_t>(ids.size(), segment.end - begin));
            (*shards_)[segment.shard].read(begin, ids.first(count));
            ids = ids.subspan(count);
            first += count;
            ++index;
        }
    }

    std::vector<Segment> segments_;
    std::vector<std::uint64_t> starts_;  // position of each segment's first token
    std::uint64_t tokens_ = 0;
    const std::vector<Shard>* shards_;
};

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
    Impl(Manifest manifest_, const std::vector<double>& weights, std::uint32_t length, std::uint64_t seed)
        : manifest(std::move(manifest_)),
          sequence_length(length),
          shards(open_shards(manifest)),
          order(order_of(weights, seed)) {}

    SampleOrder order_of(const std::vector<double>& weights, std::uint64_t seed) {
        if (weights.size() != manifest.sources.size()) {
            throw ConfigError("cannot mix the corpus: {} weights for its {} sources", weights.size(),
                              manifest.sources.size());
        }
        if (sequence_length < 1) throw ConfigError("data.sequence_length is 0, expected at least 1 token");
        std::vector<OrderSource> ordered;
        for (std::size_t index = 0; index < weights.size(); ++index) {
            const ManifestSource& source = manifest.sources[index];
            train.emplace_back(source.train, shards);
            holdout.emplace_back(source.holdout, shards);
            const std::uint64_t rows = train.back().rows(sequence_length);
            if (rows == 0) {
                throw DataError("cannot train on the data source '{}': it has {} tokens, expected at least 2",
                                source.name, source.train.tokens);
            }
            train_rows += rows;
            holdout_rows += holdout.back().rows(sequence_length);
            ordered.push_back({source.id, rows, weights[index]});
        }
        return SampleOrder(std::move(ordered), seed);
    }

    void check(const RowRange& rows, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const {
        const std::uint64_t tokens = rows.count * sequence_length;
        KIBAN_CHECK(inputs.size() == tokens && targets.size() == tokens, "{} inputs and {} targets for {} rows of {}",
                    inputs.size(), targets.size(), rows.count, sequence_length);
    }

    Manifest manifest;
    std::uint32_t sequence_length;
    std::vector<Shard> shards;
    std::vector<StreamReader> train;  // by source
    std::vector<StreamReader> holdout;
    std::uint64_t train_rows = 0;
    std::uint64_t holdout_rows = 0;
    SampleOrder order;  // last: made from the streams above
};

Corpus::Corpus(Manifest manifest, const std::vector<double>& weights, std::uint32_t sequence_length, std::uint64_t seed)
    : impl_(std::make_unique<Impl>(std::move(manifest), weights, sequence_length, seed)) {}

Corpus::~Corpus() = default;
Corpus::Corpus(Corpus&&) noexcept = default;

const Manifest& Corpus::manifest() const { return impl_->manifest; }
const SampleOrder& Corpus::order() const { return impl_->order; }
std::uint32_t Corpus::vocabulary() const { return impl_->manifest.vocabulary; }
std::uint32_t Corpus::sequence_length() const { return impl_->sequence_length; }
std::uint64_t Corpus::train_rows() const { return impl_->train_rows; }
std::uint64_t Corpus::holdout_rows() const { return impl_->holdout_rows; }

void Corpus::read_train(RowRange rows, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const {
    impl_->check(rows, inputs, targets);
    const std::size_t length = impl_->sequence_length;
    for (std::size_t i = 0; i < rows.count; ++i) {
        const RowRef row = impl_->order.at(rows.first + i);
        impl_->train[row.source].read_row(row.row, inputs.subspan(i * length, length),
                                          targets.subspan(i * length, length));
    }
}

void Corpus::read_holdout(RowRange rows, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const {
    impl_->check(rows, inputs, targets);
    KIBAN_CHECK(rows.first + rows.count <= impl_->holdout_rows, "holdout rows {} to {} of {}", rows.first,
                rows.first + rows.count, impl_->holdout_rows);
    const std::size_t length = impl_->sequence_length;
    std::size_t source = 0;
    std::uint64_t before = 0;  // rows of the sources before this one
    for (std::size_t i = 0; i < rows.count; ++i) {
        while (rows.first + i >= before + impl_->holdout[source].rows(length))
            before += impl_->holdout[source++].rows(length);
        impl_->holdout[source].read_row(rows.first + i - before, inputs.subspan(i * length, length),
                                        targets.subspan(i * length, length));
    }
}

}  // namespace kiban::data
