// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>

#include "data/card.h"

namespace kiban::data {
namespace {

using nlohmann::json;

// The prefixes, and of the terms those that are used here.
json context() {
    return {{"@language", "en"},
            {"@vocab", "https://schema.org/"},
            {"sc", "https://schema.org/"},
            {"cr", "http://mlcommons.org/croissant/"},
            {"rai", "http://mlcommons.org/croissant/RAI/"},
            {"dct", "http://purl.org/dc/terms/"},
            {"prov", "http://www.w3.org/ns/prov#"},
            {"conformsTo", "dct:conformsTo"}};
}

json shards_of(const Manifest& manifest) {
    json files = json::array();
    for (const ManifestShard& shard : manifest.shards) {
        files.push_back({{"@type", "cr:FileObject"},
                         {"@id", shard.file},
                         {"name", shard.file},
                         {"contentUrl", shard.file},
                         {"contentSize", fmt::format("{} B", shard.bytes)},
                         {"encodingFormat", "application/x-hdf5"},
                         {"sha256", shard.sha256}});
    }
    return files;
}

json sources_of(const Manifest& manifest) {
    json sources = json::array();
    for (const ManifestSource& source : manifest.sources) {
        json entity{{"@type", json::array({"sc:Dataset", "prov:Entity"})},
                    {"@id", "source:" + source.id},
                    {"name", source.name}};
        if (!source.account.licence.empty()) entity["license"] = source.account.licence;
        if (!source.account.retain_until.empty()) entity["expires"] = source.account.retain_until;
        sources.push_back(std::move(entity));
    }
    return sources;
}

json licences_of(const Manifest& manifest) {
    json licences = json::array();
    for (const ManifestSource& source : manifest.sources) {
        const std::string& licence = source.account.licence;
        if (!licence.empty() && std::find(licences.begin(), licences.end(), json(licence)) == licences.end())
            licences.push_back(licence);
    }
    return licences;
}

std::string preparation_text(const Manifest& manifest) {
    std::uint64_t read = 0;
    std::uint64_t kept = 0;
    for (const ManifestSource& source : manifest.sources) {
        read += source.cleaned == CleanCounts{} ? source.documents : source.cleaned.documents;
        kept += source.documents;
    }
    return fmt::format("Of {} documents {} were kept and encoded with the tokenizer '{}' ({} tokens).", read, kept,
                       manifest.tokenizer, manifest.vocabulary);
}

std::string personal_text(const Manifest& manifest) {
    if (!manifest.has_audit()) return "Personal data was not looked for.";
    std::vector<std::string> kinds;
    for (const auto& [kind, op] : manifest.anonymised) kinds.push_back(fmt::format("{} ({})", kind, op));
    return fmt::format("Taken out by pattern and check digit: {}.", fmt::join(kinds, ", "));
}

}  // namespace

std::string croissant(const Manifest& manifest) {
    json object{
        {"@context", context()},
        {"@type", "sc:Dataset"},
        {"@id", "corpus:" + manifest.digest()},
        {"name", fmt::format("corpus-{}", manifest.digest().substr(0, 16))},
        {"description", "Token shards to pretrain a transformer on."},
        {"version", manifest.digest()},
        {"conformsTo", json::array({"http://mlcommons.org/croissant/1.1", "http://mlcommons.org/croissant/RAI/1.0"})},
        {"distribution", shards_of(manifest)},
        {"prov:wasDerivedFrom", sources_of(manifest)},
        {"prov:wasGeneratedBy", {{"@type", "prov:Activity"}, {"name", "kiban prepare"}}},
        {"rai:dataPreprocessingProtocol", preparation_text(manifest)},
        {"rai:personalSensitiveInformation", personal_text(manifest)}};
    if (const json licences = licences_of(manifest); !licences.empty()) object["license"] = licences;
    return object.dump(2) + "\n";
}

}  // namespace kiban::data
