// SPDX-License-Identifier: Apache-2.0
#include "data/shard_plan.h"

#include <algorithm>
#include <cmath>

#include "data/document_id.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

// The units of a text that was cut have no identity until all their leaves are together.
class CutTexts {
  public:
    CutTexts(const std::vector<Unit>& units, const std::vector<nlohmann::json>& results) : ids_(units.size()) {
        std::vector<DocumentId> leaves;
        std::size_t first = 0;
        for (std::size_t i = 0; i < units.size(); ++i) {
            const Piece& piece = units[i].pieces.at(0);
            if (!piece.part_of_document()) continue;
            if (piece.begin == 0) {
                leaves.clear();
                first = i;
            }
            std::ranges::copy(ids_from_hex(results[i].at("leaves").get<std::string>()), std::back_inserter(leaves));
            if (piece.ends_file())
                std::fill(ids_.begin() + offset(first), ids_.begin() + offset(i + 1), document_id(leaves));
        }
    }

    const DocumentId& id(std::size_t unit) const { return ids_[unit]; }

  private:
    static std::ptrdiff_t offset(std::size_t index) { return static_cast<std::ptrdiff_t>(index); }

    std::vector<DocumentId> ids_;
};

// One split of one source on its way into shards of at most `limit` tokens.
class ShardCutter {
  public:
    ShardCutter(std::uint32_t source, bool held_out, std::uint64_t limit)
        : source_(source), held_out_(held_out), limit_(limit) {}

    void add(ShardPart part, std::uint64_t tokens) {
        while (tokens > 0) {
            if (shards_.empty() || shards_.back().tokens == limit_) shards_.push_back({source_, held_out_, 0, {}});
            part.take = std::min(tokens, limit_ - shards_.back().tokens);
            shards_.back().tokens += part.take;
            shards_.back().parts.push_back(part);
            part.skip += part.take;
            tokens -= part.take;
        }
    }

    const std::vector<PlannedShard>& shards() const { return shards_; }

  private:
    std::uint32_t source_;
    bool held_out_;
    std::uint64_t limit_;
    std::vector<PlannedShard> shards_;
};

Stream cut_stream(const std::vector<Segment>& whole, std::uint64_t begin, std::uint64_t end) {
    Stream stream;
    std::uint64_t position = 0;
    for (const Segment& segment : whole) {
        const std::uint64_t next = position + segment.end - segment.begin;
        const std::uint64_t from = std::max(position, begin);
        const std::uint64_t to = std::min(next, end);
        if (from < to) {
            stream.segments.push_back({segment.shard, segment.begin + from - position, segment.begin + to - position});
            stream.tokens += to - from;
        }
        position = next;
    }
    return stream;
}

Stream whole_stream(const std::vector<PlannedShard>& shards, std::uint32_t source, bool held_out) {
    Stream stream;
    for (std::uint32_t index = 0; index < shards.size(); ++index) {
        if (shards[index].source != source || shards[index].held_out != held_out) continue;
        stream.segments.push_back({index, 0, shards[index].tokens});
        stream.tokens += shards[index].tokens;
    }
    return stream;
}

void check_train(const ManifestSource& source) {
    const std::uint64_t tokens = source.train.tokens + source.holdout.tokens;
    if (tokens < 2) {
        throw DataError("cannot train on the data source '{}': it holds no text, expected at least one byte",
                        source.name);
    }
    if (source.train.tokens < 2) {
        throw DataError(
            "cannot train on the data source '{}': {} of its {} tokens are held out, expected at least 2 to remain; "
            "lower "
            "data.holdout.fraction",
            source.name, source.holdout.tokens, tokens);
    }
}

}  // namespace

std::uint64_t held_out_below(const HoldoutConfig& holdout) {
    return holdout.by == HoldoutBy::document ? static_cast<std::uint64_t>(std::ldexp(holdout.fraction, 64)) : 0;
}

std::vector<bool> held_out_ranges(const DataConfig& config, const std::vector<Unit>& units,
                                  const std::vector<nlohmann::json>& results) {
    const CutTexts texts(units, results);
    std::vector<bool> held_out(units.size());
    for (std::size_t i = 0; i < units.size(); ++i) {
        held_out[i] =
            units[i].pieces.at(0).part_of_document() && holdout_draw(texts.id(i)) < held_out_below(config.holdout);
    }
    return held_out;
}

std::vector<PlannedShard> plan_shards(const DataConfig& config, const std::vector<Unit>& units,
                                      const std::vector<nlohmann::json>& results) {
    const CutTexts texts(units, results);
    const std::uint64_t below = held_out_below(config.holdout);
    std::vector<PlannedShard> shards;
    for (std::uint32_t source = 0; source < config.sources.size(); ++source) {
        ShardCutter train(source, false, config.shard_tokens);
        ShardCutter holdout(source, true, config.shard_tokens);
        for (std::size_t i = 0; i < units.size(); ++i) {
            if (units[i].source != source) continue;
            const auto train_tokens = results[i].at("train").get<std::uint64_t>();
            if (units[i].pieces.at(0).part_of_document()) {
                ShardCutter& split = holdout_draw(texts.id(i)) < below ? holdout : train;
                split.add({units[i].id, false, 0, 0, to_hex(std::span(&texts.id(i), 1))}, train_tokens);
                continue;
            }
            train.add({units[i].id, false, 0, 0, ""}, train_tokens);
            holdout.add({units[i].id, true, 0, 0, ""}, results[i].at("holdout").get<std::uint64_t>());
        }
        shards.insert(shards.end(), train.shards().begin(), train.shards().end());
        shards.insert(shards.end(), holdout.shards().begin(), holdout.shards().end());
    }
    return shards;
}

std::vector<ManifestSource> plan_streams(const DataConfig& config, const std::vector<PlannedShard>& shards) {
    std::vector<ManifestSource> sources;
    bool holdout_row = false;
    for (std::uint32_t index = 0; index < config.sources.size(); ++index) {
        ManifestSource source;
        const SourceConfig& given = config.sources[index];
        source.name = given.name.empty() ? given.path : given.name;
        source.account = {given.licence, given.legal_basis, given.retain_until, given.sensitivity};
        source.train = whole_stream(shards, index, false);
        source.holdout = whole_stream(shards, index, true);
        if (config.holdout.by == HoldoutBy::tail) {
            const std::vector<Segment> whole = std::move(source.train.segments);
            const std::uint64_t tokens = source.train.tokens;
            const auto held_out =
                static_cast<std::uint64_t>(std::floor(config.holdout.fraction * static_cast<double>(tokens)));
            source.train = cut_stream(whole, 0, tokens - held_out);
            source.holdout = cut_stream(whole, tokens - held_out, tokens);
        }
        check_train(source);
        holdout_row = holdout_row || source.holdout.tokens >= 2;
        sources.push_back(std::move(source));
    }
    if (config.holdout.fraction > 0 && !holdout_row) {
        throw DataError(
            "cannot hold out {} of the data: no source has the 2 tokens of a row in its holdout; raise "
            "data.holdout.fraction, or set it to 0 to train without a holdout",
            config.holdout.fraction);
    }
    return sources;
}

}  // namespace kiban::data
