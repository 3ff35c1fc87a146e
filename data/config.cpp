// SPDX-License-Identifier: Apache-2.0
#include "data/config.h"

#include <cmath>

#include "data/tokenizer.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

void validate(const SourceConfig& source, std::size_t index) {
    if (source.path.empty())
        throw ConfigError("data.sources.{}.path is empty, expected a file, glob or directory", index);
    if (!(source.weight > 0) || !std::isfinite(source.weight)) {
        throw ConfigError("data.sources.{}.weight is {}, expected a number above 0", index, source.weight);
    }
    if (source.format != "auto" && source.format != "text" && source.format != "jsonl") {
        throw ConfigError("data.sources.{}.format is '{}', expected 'auto', 'text' or 'jsonl'", index, source.format);
    }
    if (source.text_field.empty())
        throw ConfigError("data.sources.{}.text_field is empty, expected a field's name", index);
}

}  // namespace

void validate(const DataConfig& config) {
    Tokenizer::check_name(config.tokenizer);
    if (config.sequence_length < 1) throw ConfigError("data.sequence_length is 0, expected at least 1 token");
    if (!(config.holdout.fraction >= 0 && config.holdout.fraction < 1)) {
        throw ConfigError("data.holdout.fraction is {}, expected at least 0 and below 1", config.holdout.fraction);
    }
    if (config.unit_bytes < 1) throw ConfigError("data.unit_bytes is 0, expected at least 1 byte");
    if (config.shard_tokens < 1) throw ConfigError("data.shard_tokens is 0, expected at least 1 token");
    if (config.sources.empty()) throw ConfigError("data.sources is empty, expected at least one source of text");
    for (std::size_t index = 0; index < config.sources.size(); ++index) validate(config.sources[index], index);
}

}  // namespace kiban::data
