// SPDX-License-Identifier: Apache-2.0
// What of the configuration decides the content of a corpus.
#pragma once

#include <nlohmann/json.hpp>

#include <optional>

#include "data/config.h"
#include "data/tokenizer.h"

namespace kiban::data {

/// `tokenizer`: the one that is known beforehand, if it is not to be trained. What has its default and came later than
/// the format does not show, so that older corpora keep their names.
nlohmann::json corpus_identity(const DataConfig& config, const std::optional<Tokenizer>& tokenizer);

}  // namespace kiban::data
