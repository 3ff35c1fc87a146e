// SPDX-License-Identifier: Apache-2.0
#include "data/manifest.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <limits>

#include "data/digest.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using nlohmann::json;

constexpr const char* kFormat = "kiban corpus";
constexpr std::uint64_t kVersion = 3;  // see version_of()

// A whole number that fits: the library would turn -1, 1.5 and what is too large into some other number.
template <typename T>
T number(const json& value) {
    if (!value.is_number_unsigned() || value.get<std::uint64_t>() > std::numeric_limits<T>::max())
        throw DataError("expected a whole number of at most {}, found {}", std::numeric_limits<T>::max(),
                        value.is_primitive() ? value.dump() : value.type_name());
    return value.get<T>();
}

json stream_to_json(const Stream& stream) {
    json segments = json::array();
    for (const Segment& segment : stream.segments) segments.push_back({segment.shard, segment.begin, segment.end});
    return {{"segments", segments}, {"tokens", stream.tokens}};
}

Stream stream_from_json(const json& object) {
    Stream stream;
    stream.tokens = number<std::uint64_t>(object.at("tokens"));
    for (const json& segment : object.at("segments")) {
        stream.segments.push_back({number<std::uint32_t>(segment.at(0)), number<std::uint64_t>(segment.at(1)),
                                   number<std::uint64_t>(segment.at(2))});
    }
    return stream;
}

// The oldest that says all of it, so that a corpus which needs nothing new keeps its digest.
std::uint64_t version_of(const Manifest& manifest) {
    const bool accounted = std::ranges::any_of(manifest.sources, [](const ManifestSource& source) {
        return source.account != SourceAccount{} || source.cleaned != CleanCounts{};
    });
    if (accounted || manifest.has_audit() || manifest.evaluation.words > 0) return 3;
    return manifest.tokenizer_sha256.empty() ? 1 : 2;
}

json account_to_json(const SourceAccount& account) {
    return {{"licence", account.licence},
            {"legal_basis", account.legal_basis},
            {"retain_until", account.retain_until},
            {"sensitivity", account.sensitivity}};
}

SourceAccount account_from_json(const json& source) {
    if (!source.contains("account")) return {};
    const json& account = source.at("account");
    return {account.at("licence").get<std::string>(), account.at("legal_basis").get<std::string>(),
            account.at("retain_until").get<std::string>(), account.at("sensitivity").get<std::string>()};
}

json anonymised_to_json(const Manifest& manifest) {
    json object{{"operators", manifest.anonymised},
                {"rules", manifest.anonymise_rules},
                {"key_id", manifest.key_id},
                {"audit_lines", manifest.audit.lines},
                {"audit_sha256", manifest.audit.sha256}};
    if (!manifest.names_id.empty()) object["names_id"] = manifest.names_id;
    if (!manifest.approved_by.empty()) object["approved_by"] = manifest.approved_by;
    return object;
}

json evaluation_to_json(const ManifestEvaluation& evaluation) {
    json files = json::array();
    for (const EvaluationFile& file : evaluation.files)
        files.push_back(
            {{"name", file.name}, {"documents", file.documents}, {"too_short", file.too_short}, {"runs", file.runs}});
    return {{"words", evaluation.words}, {"action", evaluation.action}, {"files", std::move(files)}};
}

ManifestEvaluation evaluation_from_json(const json& object) {
    ManifestEvaluation evaluation{object.at("words").get<std::uint64_t>(), object.at("action").get<std::string>(), {}};
    for (const json& file : object.at("files")) {
        evaluation.files.push_back({file.at("name").get<std::string>(), file.at("documents").get<std::uint64_t>(),
                                    file.at("too_short").get<std::uint64_t>(), file.at("runs").get<std::uint64_t>()});
    }
    return evaluation;
}

void read_anonymised(const json& anonymised, Manifest& manifest) {
    anonymised.at("operators").get_to(manifest.anonymised);
    manifest.anonymise_rules = anonymised.at("rules").get<std::string>();
    manifest.key_id = anonymised.at("key_id").get<std::string>();
    manifest.names_id = anonymised.value("names_id", "");
    manifest.approved_by = anonymised.value("approved_by", "");
    manifest.audit = {anonymised.at("audit_lines").get<std::uint64_t>(),
                      anonymised.at("audit_sha256").get<std::string>()};
}

Manifest from_json(const json& object) {
    Manifest manifest;
    manifest.tokenizer = object.at("tokenizer").get<std::string>();
    if (object.contains("tokenizer_sha256")) {
        manifest.tokenizer_sha256 = object.at("tokenizer_sha256").get<std::string>();
        manifest.unicode = object.at("unicode").get<std::string>();
    }
    manifest.vocabulary = number<std::uint32_t>(object.at("vocabulary"));
    manifest.inputs_sha256 = object.at("inputs_sha256").get<std::string>();
    if (object.contains("anonymised")) read_anonymised(object.at("anonymised"), manifest);
    if (object.contains("evaluation")) manifest.evaluation = evaluation_from_json(object.at("evaluation"));
    for (const json& source : object.at("sources")) {
        manifest.sources.push_back(
            {source.at("name").get<std::string>(), source.at("id").get<std::string>(),
             number<std::uint64_t>(source.at("documents")), number<std::uint64_t>(source.at("input_bytes")),
             stream_from_json(source.at("train")), stream_from_json(source.at("holdout")), account_from_json(source),
             source.contains("cleaned") ? clean_counts_from_json(source.at("cleaned")) : CleanCounts{},
             source.value("rejected", std::map<std::string, std::uint64_t>{}),
             source.value("special_texts", std::uint64_t{0})});
    }
    for (const json& shard : object.at("shards")) {
        manifest.shards.push_back({shard.at("file").get<std::string>(), number<std::uint64_t>(shard.at("tokens")),
                                   number<std::uint64_t>(shard.at("bytes")), shard.at("sha256").get<std::string>()});
    }
    return manifest;
}

void check_stream(const Manifest& manifest, const Stream& stream, const std::string& what) {
    std::uint64_t tokens = 0;
    for (const Segment& segment : stream.segments) {
        if (segment.shard >= manifest.shards.size() || segment.begin > segment.end ||
            segment.end > manifest.shards[segment.shard].tokens) {
            throw DataError("{} refers to tokens {} to {} of shard {}, which does not have them", what, segment.begin,
                            segment.end, segment.shard);
        }
        const std::uint64_t more = segment.end - segment.begin;
        if (more > stream.tokens - tokens)
            throw DataError("{} has more tokens in its segments than the {} that it says", what, stream.tokens);
        tokens += more;
    }
    if (tokens != stream.tokens)
        throw DataError("{} has {} tokens in its segments, expected {}", what, tokens, stream.tokens);
}

void check_shard(const Manifest& manifest, const ManifestShard& shard) {
    const std::filesystem::path name(shard.file);
    if (name.has_parent_path() || shard.file.empty() || shard.file == "..") {
        throw DataError("shard '{}' is not a file beside the manifest", shard.file);
    }
    std::error_code error;
    const auto bytes = std::filesystem::file_size(manifest.directory / name, error);
    if (error) throw DataError("shard '{}' cannot be found: {}", shard.file, error.message());
    if (bytes != shard.bytes) throw DataError("shard '{}' has {} bytes, expected {}", shard.file, bytes, shard.bytes);
}

void check_format(const json& object) {
    if (!object.is_object() || object.value("format", "") != kFormat) {
        throw DataError("expected a JSON object of format '{}', found something else", kFormat);
    }
    const auto version = number<std::uint64_t>(object.at("version"));
    if (version > kVersion) throw DataError("its format version is {}, this program reads up to {}", version, kVersion);
}

}  // namespace

std::string Manifest::to_json() const {
    json source_list = json::array();
    for (const ManifestSource& source : sources) {
        source_list.push_back({{"name", source.name},
                               {"id", source.id},
                               {"documents", source.documents},
                               {"input_bytes", source.input_bytes},
                               {"train", stream_to_json(source.train)},
                               {"holdout", stream_to_json(source.holdout)}});
        if (!source.rejected.empty()) source_list.back()["rejected"] = source.rejected;
        if (source.special_texts > 0) source_list.back()["special_texts"] = source.special_texts;
        if (source.account != SourceAccount{}) source_list.back()["account"] = account_to_json(source.account);
        if (source.cleaned != CleanCounts{}) source_list.back()["cleaned"] = kiban::data::to_json(source.cleaned);
    }
    json shard_list = json::array();
    for (const ManifestShard& shard : shards) {
        shard_list.push_back(
            {{"file", shard.file}, {"tokens", shard.tokens}, {"bytes", shard.bytes}, {"sha256", shard.sha256}});
    }
    json object{{"format", kFormat},
                {"version", version_of(*this)},
                {"tokenizer", tokenizer},
                {"vocabulary", vocabulary},
                {"sources", source_list},
                {"shards", shard_list},
                {"inputs_sha256", inputs_sha256}};
    if (has_audit()) object["anonymised"] = anonymised_to_json(*this);
    if (evaluation.words > 0) object["evaluation"] = evaluation_to_json(evaluation);
    if (!tokenizer_sha256.empty()) {
        object["tokenizer_sha256"] = tokenizer_sha256;
        object["unicode"] = unicode;
    }
    return object.dump();
}

Tokenizer Manifest::load_tokenizer() const {
    if (tokenizer_sha256.empty()) return Tokenizer(tokenizer);
    const std::filesystem::path file = directory / Tokenizer::kept_as(tokenizer);
    Tokenizer loaded = Tokenizer::from_file(file, tokenizer);
    if (loaded.sha256() == tokenizer_sha256) return loaded;
    throw DataError(
        "cannot use '{}': expected the tokenizer with digest {}, found {}; restore it, or delete its directory "
        "and prepare the corpus again",
        file.string(), tokenizer_sha256, loaded.sha256());
}

std::string Manifest::digest() const { return sha256(to_json()); }

Manifest Manifest::load(const std::filesystem::path& manifest_file) {
    if (!monitoring::anything_at(manifest_file)) {
        throw DataError("cannot read corpus manifest '{}': it does not exist; prepare the corpus first",
                        manifest_file.string());
    }
    try {
        const json object = json::parse(monitoring::read_text(manifest_file));
        check_format(object);
        Manifest manifest = from_json(object);
        manifest.directory = manifest_file.parent_path();
        for (const ManifestShard& shard : manifest.shards) check_shard(manifest, shard);
        for (const ManifestSource& source : manifest.sources) {
            check_stream(manifest, source.train, fmt::format("the training part of source '{}'", source.name));
            check_stream(manifest, source.holdout, fmt::format("the holdout of source '{}'", source.name));
        }
        return manifest;
    } catch (const json::exception& failure) {
        throw DataError("cannot read corpus manifest '{}': {}; delete its directory and prepare the corpus again",
                        manifest_file.string(), failure.what());
    } catch (const DataError& failure) {
        throw DataError("cannot use corpus manifest '{}': {}; delete its directory and prepare the corpus again",
                        manifest_file.string(), failure.what());
    }
}

}  // namespace kiban::data
