// SPDX-License-Identifier: Apache-2.0
#include "data/task_plan.h"

#include <algorithm>
#include <cmath>

#include "data/bpe/unicode.h"
#include "data/clean/counts.h"
#include "data/clean/min_hash.h"
#include "data/duplicates.h"
#include "data/tasks.h"

namespace kiban::data {
namespace {

using nlohmann::json;

json pieces_of(const Unit& unit) {
    json pieces = json::array();
    for (const Piece& piece : unit.pieces) pieces.push_back(to_json(piece));
    return pieces;
}

json clean_of(const DataConfig& config) { return config.clean.active() ? to_json(config.clean) : json::object(); }

std::vector<std::uint64_t> source_bytes(const DataConfig& config, const std::vector<Unit>& units) {
    std::vector<std::uint64_t> bytes(config.sources.size());
    for (const Unit& unit : units) bytes[unit.source] += unit.bytes;
    return bytes;
}

}  // namespace

std::vector<PlannedTask> plan_counting(const DataConfig& config, const std::vector<Unit>& units,
                                       const std::filesystem::path& corpus) {
    const std::vector<std::uint64_t> all = source_bytes(config, units);
    std::vector<std::uint64_t> before(all.size());  // bytes of each source in the units so far
    std::vector<PlannedTask> tasks;
    for (const Unit& unit : units) {
        std::uint64_t end = all[unit.source];
        if (config.holdout.by == HoldoutBy::tail) {
            end -= static_cast<std::uint64_t>(std::floor(config.holdout.fraction * static_cast<double>(end)));
        }
        json counted = json::array();
        std::uint64_t& at = before[unit.source];
        std::uint64_t sum = 0;
        for (const Piece& piece : unit.pieces) {
            const std::uint64_t bytes = piece.end - piece.begin;
            counted.push_back(at < end ? std::min(bytes, end - at) : 0);
            sum += counted.back().get<std::uint64_t>();
            at += bytes;
        }
        if (sum == 0) continue;
        tasks.push_back({{{"kind", "count"},
                          {"directory", encode_name(corpus.string())},
                          {"unit", unit.id},
                          {"unicode", unicode_version()},
                          {"held_out_below", held_out_below(config.holdout)},
                          {"clean", clean_of(config)},
                          {"pieces", pieces_of(unit)},
                          {"counted", std::move(counted)}},
                         unit.bytes});
    }
    return tasks;
}

PlannedTask plan_training(const DataConfig& config, const std::vector<Unit>& units, const std::vector<json>& counted,
                          const std::filesystem::path& corpus) {
    std::vector<bool> left_out(units.size());
    if (held_out_below(config.holdout) > 0) left_out = held_out_ranges(config, units, counted);
    json ids = json::array();
    for (const json& result : counted) {
        const auto unit = result.at("unit").get<std::uint64_t>();
        if (!left_out.at(unit)) ids.push_back(unit);
    }
    return {{{"kind", "train"},
             {"directory", encode_name(corpus.string())},
             {"tokenizer", config.tokenizer},
             {"unicode", unicode_version()},
             {"units", std::move(ids)}},
            0};
}

std::vector<PlannedTask> plan_tokenizing(const DataConfig& config, const std::vector<Unit>& units,
                                         const Tokenizer& tokenizer, const std::filesystem::path& corpus) {
    std::vector<PlannedTask> tasks;
    for (const Unit& unit : units) {
        tasks.push_back({{{"kind", "tokenize"},
                          {"directory", encode_name(corpus.string())},
                          {"unit", unit.id},
                          {"tokenizer", to_json(tokenizer)},
                          {"held_out_below", held_out_below(config.holdout)},
                          {"clean", clean_of(config)},
                          {"pieces", pieces_of(unit)}},
                         unit.bytes});
    }
    return tasks;
}

std::vector<PlannedTask> plan_deduplication(std::size_t units, std::uint64_t documents,
                                            const std::filesystem::path& corpus) {
    std::vector<PlannedTask> tasks;
    const std::uint64_t ranges = duplicate_ranges(documents);
    for (std::uint64_t range = 0; range < ranges; ++range) {
        tasks.push_back({{{"kind", "dedupe"},
                          {"directory", encode_name(corpus.string())},
                          {"range", range},
                          {"ranges", ranges},
                          {"units", units}},
                         0});
    }
    return tasks;
}

std::vector<PlannedTask> plan_linking(std::size_t units, const std::filesystem::path& corpus) {
    std::vector<PlannedTask> tasks;
    for (std::size_t band = 0; band < kBands; ++band) {
        tasks.push_back(
            {{{"kind", "band"}, {"directory", encode_name(corpus.string())}, {"band", band}, {"units", units}}, 0});
    }
    return tasks;
}

PlannedTask plan_joining(std::uint64_t ranges, const std::filesystem::path& corpus) {
    return {{{"kind", "cluster"}, {"directory", encode_name(corpus.string())}, {"range", ranges}}, 0};
}

PlannedTask plan_evaluation(const DataConfig& config, const std::vector<InputFile>& files,
                            const std::filesystem::path& corpus) {
    SourceConfig source;
    source.text_field = config.clean.contamination.text_field;
    json pieces = json::array();
    json names = json::array();
    for (const Unit& unit : plan_units(files, source, 0, ~std::uint64_t{0} >> 1, 0, /*whole_texts=*/true)) {
        for (const Piece& piece : unit.pieces) {
            names.push_back(encode_name(files[piece.file].name));
            pieces.push_back(to_json(piece));
        }
    }
    return {{{"kind", "evaluation"},
             {"directory", encode_name(corpus.string())},
             {"clean", to_json(config.clean)},
             {"names", std::move(names)},
             {"pieces", std::move(pieces)}},
            0};
}

std::vector<json> without_duplicates(std::vector<json> results, const std::vector<json>& deduplicated) {
    const auto less = [](json& value, const json& left_out) {
        value = value.get<std::uint64_t>() - left_out.get<std::uint64_t>();
    };
    for (const json& range : deduplicated) {
        for (const json& left : range.at("units")) {
            json& result = results.at(left.at(0).get<std::size_t>());
            less(result.at("documents"), left.at(1));
            less(result.at("train"), left.at(2));
            less(result.at("holdout"), left.at(3));
            CleanCounts cleaned = clean_counts_from_json(result.at("cleaned"));
            cleaned.dropped[range.at("reason").get<std::string>()] += left.at(1).get<std::uint64_t>();
            result["cleaned"] = to_json(cleaned);
        }
    }
    return results;
}

std::vector<PlannedTask> plan_gathering(const std::vector<PlannedShard>& shards, const Tokenizer& tokenizer,
                                        const std::string& config_sha256, std::uint64_t duplicate_ranges,
                                        const std::filesystem::path& corpus) {
    std::vector<PlannedTask> tasks;
    for (std::size_t shard = 0; shard < shards.size(); ++shard) {
        json parts = json::array();
        for (const ShardPart& part : shards[shard].parts) {
            parts.push_back({{"unit", part.unit},
                             {"held_out", part.held_out ? 1 : 0},
                             {"skip", part.skip},
                             {"take", part.take},
                             {"document", part.document}});
        }
        tasks.push_back({{{"kind", "shard"},
                          {"directory", encode_name(corpus.string())},
                          {"shard", shard},
                          {"tokens", shards[shard].tokens},
                          {"tokenizer", to_json(tokenizer)},
                          {"config_sha256", config_sha256},
                          {"duplicate_ranges", duplicate_ranges},
                          {"parts", std::move(parts)}},
                         0});
    }
    return tasks;
}

}  // namespace kiban::data
