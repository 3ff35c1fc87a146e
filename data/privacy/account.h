// SPDX-License-Identifier: Apache-2.0
// What was taken out of a corpus: its manifest's part and its audit log, a pure function of the units' results.
#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "data/config.h"
#include "data/manifest.h"
#include "data/units.h"

namespace kiban::data {

/// Fills in the manifest's account of it and gives the log; nothing where nothing is anonymised.
std::string account_for_anonymising(const DataConfig& config, const std::vector<Unit>& units,
                                    const std::vector<nlohmann::json>& results, Manifest& manifest);

}  // namespace kiban::data
