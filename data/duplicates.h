// SPDX-License-Identifier: Apache-2.0
// Documents with the same text: of all staged units together, the first stays (by source, then unit, then place).
//
// Work is cut by identity, not by unit: a range holds every document whose identity begins in it, whoever staged it.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kiban::data {

inline constexpr std::uint64_t kDocumentsOfRange = 16u << 20;  // about 400 MB while they are compared

/// So many ranges for so many documents: at least 1.
std::uint64_t duplicate_ranges(std::uint64_t documents);

std::filesystem::path duplicates_file(const std::filesystem::path& corpus, std::uint64_t range);

/// What publish_duplicates() gave when it published the range; nullopt when it did not. IoError when it is damaged.
std::optional<nlohmann::json> duplicates_result(const std::filesystem::path& corpus, std::uint64_t range);

/// Publishes what is left out, for `reason`, as a range: sorted `places`, each unit * 2^32 + number in it. The result
/// is that of the task "dedupe".
nlohmann::json publish_duplicates(const std::filesystem::path& corpus, std::uint64_t range,
                                  const std::vector<std::uint64_t>& places, const std::string& reason);

/// The task "dedupe" of data/tasks.h.
nlohmann::json run_dedupe(const nlohmann::json& task);

/// What is to be left out of a unit, of all ranges.
class Duplicates {
  public:
    /// IoError when a range's file is damaged or gone. `ranges` 0: nothing is left out.
    Duplicates(const std::filesystem::path& corpus, std::uint64_t ranges);

    bool contains(std::uint64_t unit, std::uint64_t document) const;

  private:
    std::vector<std::uint64_t> sorted_;  // unit * 2^32 + document
};

}  // namespace kiban::data
