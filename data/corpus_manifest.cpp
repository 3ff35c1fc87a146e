// SPDX-License-Identifier: Apache-2.0
#include "data/corpus_manifest.h"

#include <map>
#include <string>
#include <utility>

#include "data/bpe/unicode.h"
#include "data/digest.h"
#include "data/tasks.h"
#include "monitoring/error.h"

namespace kiban::data {

using nlohmann::json;

namespace {

std::map<std::string, std::uint64_t> rejected_of(const json& result) {
    return result.value("rejected", std::map<std::string, std::uint64_t>{});
}

}  // namespace

void check_rejected(const DataConfig& config, const std::vector<Unit>& units, const std::vector<json>& results) {
    for (std::size_t index = 0; index < config.sources.size(); ++index) {
        std::map<std::string, std::uint64_t> rejected;
        std::uint64_t lines = 0;
        for (std::size_t unit = 0; unit < units.size(); ++unit) {
            if (units[unit].source != index) continue;
            const json& result = results[unit];
            const json& read = result.contains("cleaned") ? result.at("cleaned") : result;
            lines += read.at("documents").get<std::uint64_t>();
            for (const auto& [reason, count] : rejected_of(result)) {
                rejected[reason] += count;
                lines += count;
            }
        }
        std::uint64_t bad = 0;
        for (const auto& [reason, count] : rejected) bad += count;
        const SourceConfig& source = config.sources[index];
        if (static_cast<double>(bad) <= source.max_bad_lines * static_cast<double>(lines)) continue;
        throw DataError(
            "cannot use the data source '{}': {} of its {} lines are no documents ({}), expected at most {} of them "
            "(max_bad_lines)",
            source.name.empty() ? source.path : source.name, bad, lines, json(rejected).dump(), source.max_bad_lines);
    }
}

Manifest manifest_of(const Tokenizer& tokenizer, std::vector<ManifestSource> sources,
                     const std::vector<std::vector<InputFile>>& inputs, const std::vector<Unit>& units,
                     const std::vector<json>& unit_results) {
    Manifest manifest;
    manifest.tokenizer = tokenizer.name();
    manifest.vocabulary = tokenizer.vocabulary();
    manifest.sources = std::move(sources);
    if (tokenizer.has_file()) manifest.tokenizer_sha256 = tokenizer.sha256();
    if (tokenizer.bpe()) manifest.unicode = unicode_version();
    for (std::size_t unit = 0; unit < units.size(); ++unit) {
        ManifestSource& source = manifest.sources[units[unit].source];
        source.documents += unit_results[unit].at("documents").get<std::uint64_t>();
        source.special_texts += unit_results[unit].at("special_texts").get<std::uint64_t>();
        for (const auto& [reason, lines] : rejected_of(unit_results[unit])) source.rejected[reason] += lines;
        if (unit_results[unit].contains("cleaned"))
            source.cleaned += clean_counts_from_json(unit_results[unit].at("cleaned"));
    }
    for (std::size_t i = 0; i < manifest.sources.size(); ++i) {
        for (const InputFile& file : inputs[i]) manifest.sources[i].input_bytes += file.bytes;
    }
    return manifest;
}

void add_evaluation(Manifest& manifest, const ContaminationConfig& config, const json& result) {
    manifest.evaluation = {config.words, config.action, {}};
    for (const json& file : result.at("files")) {
        manifest.evaluation.files.push_back({file.at(0).get<std::string>(), file.at(1).get<std::uint64_t>(),
                                             file.at(2).get<std::uint64_t>(), file.at(3).get<std::uint64_t>()});
    }
}

void add_shards(Manifest& manifest, const std::vector<PlannedShard>& shards, const std::vector<json>& results) {
    std::vector<std::string> blocks(manifest.sources.size());
    for (std::size_t shard = 0; shard < shards.size(); ++shard) {
        const json& result = results[shard];
        manifest.shards.push_back({shard_name(shard), shards[shard].tokens, result.at("bytes").get<std::uint64_t>(),
                                   result.at("sha256").get<std::string>()});
        blocks[shards[shard].source] += result.at("blocks").get<std::string>();
    }
    for (std::size_t i = 0; i < manifest.sources.size(); ++i) {
        ManifestSource& source = manifest.sources[i];
        source.id =
            sha256(fmt::format("kiban source 1\n{}\n{}\n", source.train.tokens + source.holdout.tokens, blocks[i]));
    }
}

}  // namespace kiban::data
