// SPDX-License-Identifier: Apache-2.0
#include "data/clean/counts.h"

#include <nlohmann/json.hpp>

namespace kiban::data {

using nlohmann::json;

Redaction& Redaction::operator+=(const Redaction& more) {
    values += more.values;
    documents += more.documents;
    bytes_before += more.bytes_before;
    bytes_after += more.bytes_after;
    return *this;
}

CleanCounts& CleanCounts::operator+=(const CleanCounts& more) {
    documents += more.documents;
    bytes += more.bytes;
    for (const auto& [reason, count] : more.dropped) dropped[reason] += count;
    for (const auto& [what, count] : more.changed) changed[what] += count;
    for (const auto& [kind, redaction] : more.redacted) redacted[kind] += redaction;
    for (const auto& [file, count] : more.contaminated) contaminated[file] += count;
    return *this;
}

json to_json(const CleanCounts& counts) {
    json object{{"documents", counts.documents},
                {"bytes", counts.bytes},
                {"dropped", counts.dropped},
                {"changed", counts.changed}};
    for (const auto& [kind, redaction] : counts.redacted) {
        object["redacted"][kind] = {redaction.values, redaction.documents, redaction.bytes_before,
                                    redaction.bytes_after};
    }
    if (!counts.contaminated.empty()) object["contaminated"] = counts.contaminated;
    if (!counts.affected.empty()) object["affected"] = counts.affected;
    return object;
}

CleanCounts clean_counts_from_json(const json& object) {
    CleanCounts counts;
    counts.documents = object.at("documents").get<std::uint64_t>();
    counts.bytes = object.at("bytes").get<std::uint64_t>();
    object.at("dropped").get_to(counts.dropped);
    object.at("changed").get_to(counts.changed);
    if (object.contains("contaminated")) object.at("contaminated").get_to(counts.contaminated);
    if (object.contains("affected")) object.at("affected").get_to(counts.affected);
    if (!object.contains("redacted")) return counts;
    for (const auto& [kind, values] : object.at("redacted").items()) {
        counts.redacted[kind] = {values.at(0).get<std::uint64_t>(), values.at(1).get<std::uint64_t>(),
                                 values.at(2).get<std::uint64_t>(), values.at(3).get<std::uint64_t>()};
    }
    return counts;
}

}  // namespace kiban::data
