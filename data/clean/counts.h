// SPDX-License-Identifier: Apache-2.0
// What cleaning did to the documents of a source: what came, what went and why.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace kiban::data {

struct Redaction {  // of one kind of personal data
    std::uint64_t values = 0;
    std::uint64_t documents = 0;
    std::uint64_t bytes_before = 0;  // of the values
    std::uint64_t bytes_after = 0;   // of what stands in their place

    Redaction& operator+=(const Redaction& more);
    bool operator==(const Redaction&) const = default;
};

struct CleanCounts {
    std::uint64_t documents = 0;                   // that were read, empty ones apart
    std::uint64_t bytes = 0;                       // of their text
    std::map<std::string, std::uint64_t> dropped;  // documents, by the key of the rule they broke, or another reason
    std::map<std::string, std::uint64_t> changed;  // what was changed in those that stayed
    std::map<std::string, Redaction> redacted;     // by kind
    std::map<std::string, std::uint64_t> contaminated;  // documents, by the evaluation file they share words with
    std::map<std::string, std::vector<std::string>> affected;  // by kind, documents by what is left of them; not summed

    CleanCounts& operator+=(const CleanCounts& more);
    bool operator==(const CleanCounts&) const = default;
};

nlohmann::json to_json(const CleanCounts& counts);
CleanCounts clean_counts_from_json(const nlohmann::json& json);

}  // namespace kiban::data
