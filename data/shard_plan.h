// SPDX-License-Identifier: Apache-2.0
// From tokenized units to shards, and from shards to the streams of the manifest: pure functions of the units' results.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "data/config.h"
#include "data/manifest.h"
#include "data/units.h"

namespace kiban::data {

struct ShardPart {  // tokens [skip, skip + take) of a unit's documents of one split
    std::uint32_t unit = 0;
    bool held_out = false;
    std::uint64_t skip = 0;
    std::uint64_t take = 0;
    std::string document;  // identity in hex, for a unit that is one range of a text
};

struct PlannedShard {
    std::uint32_t source = 0;
    bool held_out = false;  // only when documents are held out; `tail` cuts inside the shards
    std::uint64_t tokens = 0;
    std::vector<ShardPart> parts;
};

/// A document's holdout_draw() below this holds it out; 0 for `tail`.
std::uint64_t held_out_below(const HoldoutConfig& holdout);

/// By unit: whether it is a range of a text that was cut and, as a document, is held out. `results[i]` is that of
/// `units[i]`, with its leaves.
std::vector<bool> held_out_ranges(const DataConfig& config, const std::vector<Unit>& units,
                                  const std::vector<nlohmann::json>& results);

/// `results[i]` is that of `units[i]`.
std::vector<PlannedShard> plan_shards(const DataConfig& config, const std::vector<Unit>& units,
                                      const std::vector<nlohmann::json>& results);

/// The sources with their streams and ids. DataError for a source with fewer than 2 tokens to train on, or a holdout
/// without a row.
std::vector<ManifestSource> plan_streams(const DataConfig& config, const std::vector<PlannedShard>& shards);

}  // namespace kiban::data
