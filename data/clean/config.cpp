// SPDX-License-Identifier: Apache-2.0
#include "data/clean/config.h"

#include <nlohmann/json.hpp>

#include "data/units.h"

namespace kiban::data {
namespace {

using nlohmann::json;

template <typename Config, typename Visit>
void for_each_rule(Config& filter, const Visit& visit) {
    visit("min_words", filter.min_words);
    visit("max_words", filter.max_words);
    visit("min_word_length", filter.min_word_length);
    visit("max_word_length", filter.max_word_length);
    visit("max_symbols", filter.max_symbols);
    visit("max_bullet_lines", filter.max_bullet_lines);
    visit("max_ellipsis_lines", filter.max_ellipsis_lines);
    visit("min_letter_words", filter.min_letter_words);
    visit("min_stop_words", filter.min_stop_words);
    visit("max_repeated_lines", filter.max_repeated_lines);
    visit("max_repeated_line_bytes", filter.max_repeated_line_bytes);
    visit("max_repeated_paragraphs", filter.max_repeated_paragraphs);
    visit("max_repeated_paragraph_bytes", filter.max_repeated_paragraph_bytes);
    visit("max_repeated_ngrams", filter.max_repeated_ngrams);
    visit("min_ended_lines", filter.min_ended_lines);
    visit("max_short_lines", filter.max_short_lines);
    visit("max_lines_per_word", filter.max_lines_per_word);
}

template <typename Config, typename Visit>
void for_each_word(Config& anonymise, const Visit& visit) {
    visit("all", anonymise.all);
    visit("secret", anonymise.secret);
    visit("email", anonymise.email);
    visit("iban", anonymise.iban);
    visit("card", anonymise.card);
    visit("my_number", anonymise.my_number);
    visit("corporate_number", anonymise.corporate_number);
    visit("phone", anonymise.phone);
    visit("postal_code", anonymise.postal_code);
    visit("ip", anonymise.ip);
    visit("mac", anonymise.mac);
    visit("key_file", anonymise.key_file);
    visit("key_id", anonymise.key_id);
    visit("salt", anonymise.salt);
}

// Left out where they are empty, so that corpora from before they were known keep their names.
template <typename Config, typename Visit>
void for_each_later_word(Config& anonymise, const Visit& visit) {
    visit("name", anonymise.name);
    visit("names_file", anonymise.names_file);
    visit("names_id", anonymise.names_id);
    visit("approved_by", anonymise.approved_by);
}

}  // namespace

json to_json(const CleanConfig& config) {
    json rules = json::object();
    for_each_rule(config.filter, [&](const char* name, const auto& value) {
        if (value != 0) rules[name] = value;
    });
    json words = json::object();
    if (config.anonymise != AnonymiseConfig{}) {
        for_each_word(config.anonymise, [&](const char* name, const std::string& value) { words[name] = value; });
        for_each_later_word(config.anonymise, [&](const char* name, const std::string& value) {
            if (!value.empty()) words[name] = value;
        });
        words["key_file"] = encode_name(config.anonymise.key_file);
        if (words.contains("names_file")) words["names_file"] = encode_name(config.anonymise.names_file);
    }
    json object{{"normalise", config.normalise},
                {"deduplicate", config.deduplicate},
                {"filter", std::move(rules)},
                {"anonymise", std::move(words)}};
    const ContaminationConfig& contamination = config.contamination;
    if (!contamination.files.empty()) {
        object["contamination"] = {{"files", encode_name(contamination.files)},
                                   {"text_field", contamination.text_field},
                                   {"words", contamination.words},
                                   {"action", contamination.action}};
    }
    return object;
}

CleanConfig clean_config_from_json(const json& object) {
    CleanConfig config;
    config.normalise = object.at("normalise").get<std::string>();
    config.deduplicate = object.at("deduplicate").get<std::string>();
    const json& rules = object.at("filter");
    for_each_rule(config.filter, [&](const char* name, auto& value) {
        if (rules.contains(name)) rules.at(name).get_to(value);
    });
    if (object.contains("contamination")) {
        const json& known = object.at("contamination");
        config.contamination = {decode_name(known.at("files").get<std::string>()),
                                known.at("text_field").get<std::string>(), known.at("words").get<std::uint64_t>(),
                                known.at("action").get<std::string>()};
    }
    const json& words = object.at("anonymise");
    if (words.empty()) return config;
    for_each_word(config.anonymise, [&](const char* name, std::string& value) { words.at(name).get_to(value); });
    for_each_later_word(config.anonymise,
                        [&](const char* name, std::string& value) { value = words.value(name, std::string()); });
    config.anonymise.key_file = decode_name(config.anonymise.key_file);
    config.anonymise.names_file = decode_name(config.anonymise.names_file);
    return config;
}

}  // namespace kiban::data
