// SPDX-License-Identifier: Apache-2.0
// What is done to documents before they become tokens: part of section [data] of the run file.
#pragma once

#include <nlohmann/json_fwd.hpp>

#include <cstdint>
#include <string>

namespace kiban::data {

struct FilterConfig {  // of each rule 0 means that it is not asked; words are what white space separates
    std::uint64_t min_words = 0;
    std::uint64_t max_words = 0;
    double min_word_length = 0;  // mean, in characters
    double max_word_length = 0;
    double max_symbols = 0;              // `#` and ellipses, per word
    double max_bullet_lines = 0;         // of all lines that are not blank
    double max_ellipsis_lines = 0;       // lines that end with one
    double min_letter_words = 0;         // words with a letter, of all words
    std::uint64_t min_stop_words = 0;    // different ones of English's most common
    double max_repeated_lines = 0;       // lines that stood before, of all lines
    double max_repeated_line_bytes = 0;  // their bytes, of all lines'
    double max_repeated_paragraphs = 0;
    double max_repeated_paragraph_bytes = 0;
    double max_repeated_ngrams = 0;  // 1: Gopher's limits for runs of 2 to 10 words; 0.5: half of them
    double min_ended_lines = 0;      // lines that end with a mark that ends sentences
    double max_short_lines = 0;      // of at most 30 characters
    double max_lines_per_word = 0;

    bool operator==(const FilterConfig&) const = default;
};

struct AnonymiseConfig {  // an operator of data/privacy/anonymiser.h for each kind; empty: that of `all`
    std::string all = "keep";
    std::string secret;
    std::string email;
    std::string iban;
    std::string card;
    std::string my_number;
    std::string corporate_number;
    std::string phone;
    std::string postal_code;
    std::string ip;
    std::string mac;
    std::string name;         // of names_file; without one no name is looked for
    std::string names_file;   // names, one a line (data/privacy/names.h)
    std::string names_id;     // not of the run file: names the list
    std::string approved_by;  // who allows that values are encrypted, which can be undone
    std::string key_file;     // of pseudonyms and encryption: at least 32 bytes, kept outside of the data
    std::string key_id;       // not of the run file: names the key
    std::string salt;         // not of the run file: comes from key_id, so that nothing but the key changes pseudonyms

    bool operator==(const AnonymiseConfig&) const = default;
};

struct ContaminationConfig {          // by evaluation files: texts that must not be trained on
    std::string files;                // file, glob or directory, relative to the run file; empty: nothing is compared
    std::string text_field = "text";  // JSONL: the field that holds a text
    std::uint64_t words = 13;         // of a run that a document shares with them
    std::string action = "drop";      // drop | count

    bool operator==(const ContaminationConfig&) const = default;
};

struct CleanConfig {
    std::string normalise = "none";    // none | text: well-formed UTF-8, line ends as \n, no control characters
    std::string deduplicate = "none";  // none | exact: of documents with the same text the first stays | near: with
                                       // nearly the same, too (data/near_duplicates.h)
    FilterConfig filter;
    AnonymiseConfig anonymise;
    ContaminationConfig contamination;

    /// Whether documents are looked at as a whole; a text of more than kRecordBytes is refused then.
    bool active() const { return *this != CleanConfig{}; }
    bool operator==(const CleanConfig&) const = default;
};

nlohmann::json to_json(const CleanConfig& config);
CleanConfig clean_config_from_json(const nlohmann::json& json);

}  // namespace kiban::data
