// SPDX-License-Identifier: Apache-2.0
#include "data/config.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <cmath>

#include "data/bpe/unicode.h"
#include "data/privacy/anonymiser.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

bool is_date(const std::string& text) {
    if (text.size() != 10 || text[4] != '-' || text[7] != '-') return false;
    int year = 0;
    unsigned month = 0;
    unsigned day = 0;
    const auto number = [&](std::size_t begin, std::size_t end, auto& value) {
        const auto [stop, error] = std::from_chars(text.data() + begin, text.data() + end, value);
        return error == std::errc{} && stop == text.data() + end && text[begin] != '-';
    };
    if (!number(0, 4, year) || !number(5, 7, month) || !number(8, 10, day)) return false;
    return std::chrono::year_month_day(std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)).ok();
}

void validate(const CleanConfig& clean) {
    if (clean.normalise != "none" && clean.normalise != "text")
        throw ConfigError("data.clean.normalise is '{}', expected 'none' or 'text'", clean.normalise);
    if (clean.deduplicate != "none" && clean.deduplicate != "exact" && clean.deduplicate != "near")
        throw ConfigError("data.clean.deduplicate is '{}', expected 'none', 'exact' or 'near'", clean.deduplicate);
    const ContaminationConfig& contamination = clean.contamination;
    if (contamination.words < 1) throw ConfigError("data.clean.contamination.words is 0, expected at least 1 word");
    if (contamination.action != "drop" && contamination.action != "count")
        throw ConfigError("data.clean.contamination.action is '{}', expected 'drop' or 'count'", contamination.action);
}

void validate(const AnonymiseConfig& anonymise) {
    const auto operators = operators_of(anonymise);
    if (needs_key(operators) && anonymise.key_file.empty())
        throw ConfigError(
            "data.clean.anonymise.key_file is empty, expected the key that pseudonyms and encryption need");
    const bool undone = std::ranges::find(operators, Operator::encrypt) != operators.end();
    if (undone && anonymise.approved_by.empty()) {
        throw ConfigError(
            "data.clean.anonymise.approved_by is empty, expected who allows that values are encrypted, which the key's "
            "holder can undo");
    }
    if (!is_utf8(anonymise.approved_by)) throw ConfigError("data.clean.anonymise.approved_by is not UTF-8");
    if (!anonymise.name.empty() && anonymise.names_file.empty())
        throw ConfigError("data.clean.anonymise.names_file is empty, expected the list of the names to look for");
}

// What a company has of its own is used as little as the purpose asks, and without the persons in it.
void check_internal(const DataConfig& config, std::size_t index) {
    const SourceConfig& source = config.sources[index];
    if (source.sensitivity != "internal") return;
    auto operators = operators_of(config.clean.anonymise);
    if (config.clean.anonymise.names_file.empty()) operators[static_cast<std::size_t>(Kind::name)] = Operator::redact;
    const auto kept = std::ranges::find(operators, Operator::keep);
    if (kept != operators.end()) {
        throw ConfigError(
            "data.sources.{} is internal, but its {}s would be kept: expected data.clean.anonymise to take every kind "
            "out",
            index, kKindNames[static_cast<std::size_t>(kept - operators.begin())]);
    }
    if (source.max_bytes == 0) {
        throw ConfigError("data.sources.{} is internal: expected max_bytes, the most that may be used of it", index);
    }
}

void check_account(const SourceConfig& source, std::size_t index) {
    if (!source.retain_until.empty() && !is_date(source.retain_until)) {
        throw ConfigError("data.sources.{}.retain_until is '{}', expected a date such as 2030-12-31", index,
                          source.retain_until);
    }
    if (!source.sensitivity.empty() && source.sensitivity != "public" && source.sensitivity != "internal") {
        throw ConfigError("data.sources.{}.sensitivity is '{}', expected 'public' or 'internal'", index,
                          source.sensitivity);
    }
    for (const std::string* text :
         {&source.name, &source.licence, &source.legal_basis, &source.retain_until, &source.sensitivity}) {
        if (!is_utf8(*text)) throw ConfigError("data.sources.{} is described by bytes that are no UTF-8", index);
    }
}

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
    if (!(source.max_bad_lines >= 0 && source.max_bad_lines < 1)) {
        throw ConfigError("data.sources.{}.max_bad_lines is {}, expected at least 0 and below 1", index,
                          source.max_bad_lines);
    }
    check_account(source, index);
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
    validate(config.clean);
    validate(config.clean.anonymise);
    if (config.sources.empty()) throw ConfigError("data.sources is empty, expected at least one source of text");
    for (std::size_t index = 0; index < config.sources.size(); ++index) {
        validate(config.sources[index], index);
        check_internal(config, index);
    }
}

void check_retention(const DataConfig& config, const std::string& today) {
    for (const SourceConfig& source : config.sources) {
        if (source.retain_until.empty() || today <= source.retain_until) continue;  // dates sort as their text does
        throw ConfigError(
            "cannot use the data source '{}' on {}: data.sources retain_until is {}; take it out, or renew its "
            "retention",
            source.name.empty() ? source.path : source.name, today, source.retain_until);
    }
}

}  // namespace kiban::data
