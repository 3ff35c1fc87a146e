// SPDX-License-Identifier: Apache-2.0
#include "data/corpus_identity.h"

#include <utility>

#include "data/bpe/unicode.h"
#include "data/privacy/anonymiser.h"
#include "data/units.h"

namespace kiban::data {
namespace {

using nlohmann::json;

constexpr int kPreparationVersion = 1;  // part of a corpus' name: raise it when the same input gives other shards

}  // namespace

json corpus_identity(const DataConfig& config, const std::optional<Tokenizer>& tokenizer) {
    json sources = json::array();
    for (const SourceConfig& source : config.sources) {
        sources.push_back(
            {{"path", encode_name(source.path)}, {"format", source.format}, {"text_field", source.text_field}});
        if (source.max_bad_lines > 0) sources.back()["max_bad_lines"] = source.max_bad_lines;
        for (const auto& [key, value] :
             {std::pair("name", &source.name), std::pair("licence", &source.licence),
              std::pair("legal_basis", &source.legal_basis), std::pair("retain_until", &source.retain_until),
              std::pair("sensitivity", &source.sensitivity)}) {
            if (!value->empty()) sources.back()[key] = *value;
        }
    }
    json identity{{"version", kPreparationVersion},
                  {"tokenizer", config.tokenizer},
                  {"holdout_by", config.holdout.by == HoldoutBy::tail ? "tail" : "document"},
                  {"holdout_fraction", config.holdout.fraction},
                  {"unit_bytes", config.unit_bytes},
                  {"shard_tokens", config.shard_tokens},
                  {"sources", sources}};
    if (config.clean.active()) {
        json clean = to_json(config.clean);
        clean["anonymise"].erase("key_file");  // its id says which key it is, as that of the names does
        clean["anonymise"].erase("salt");      // comes from the key
        clean["anonymise"].erase("names_file");
        clean["rules"] = kRuleVersion;
        identity["clean"] = std::move(clean);
    }
    if (config.tokenizer == "bytes") return identity;
    identity["unicode"] = unicode_version();
    if (tokenizer) identity["tokenizer"] = tokenizer->sha256();  // a file's name says nothing
    return identity;
}

}  // namespace kiban::data
