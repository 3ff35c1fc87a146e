// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include <algorithm>
#include <set>
#include <unordered_map>

#include "data/bpe/definition.h"
#include "data/bpe/splitter.h"
#include "monitoring/error.h"
#include "monitoring/nesting.h"

namespace kiban::data {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr std::uint64_t kMostIds = 1u << 20;

class Reader {
  public:
    explicit Reader(const std::string& where) : where_(where) {}

    BpeDefinition read(const json& file) {
        if (!file.is_object() || !object_at(file, "model")) damaged("it has no object 'model'");
        refuse_unless_null(file, "normalizer", "text is encoded as it is");
        read_model(file.at("model"));
        read_added(file);
        read_pre_tokenizer(file);
        check_decoder(file);
        check_post_processor(file);
        check_bytes();
        return std::move(definition_);
    }

  private:
    template <typename... Args>
    [[noreturn]] void damaged(fmt::format_string<Args...> format, Args&&... args) const {
        throw DataError("cannot use tokenizer '{}': {}", where_, fmt::format(format, std::forward<Args>(args)...));
    }

    template <typename... Args>
    [[noreturn]] void unsupported(fmt::format_string<Args...> format, Args&&... args) const {
        throw ConfigError("cannot use tokenizer '{}': {}", where_, fmt::format(format, std::forward<Args>(args)...));
    }

    static const json* member(const json& object, const char* key) {
        const auto found = object.find(key);
        return found == object.end() || found->is_null() ? nullptr : &*found;
    }

    static bool object_at(const json& object, const char* key) {
        const json* value = member(object, key);
        return value != nullptr && value->is_object();
    }

    bool flag(const json& object, const char* key, bool otherwise) const {
        const json* value = member(object, key);
        if (value == nullptr) return otherwise;
        if (!value->is_boolean()) damaged("'{}' is {}, expected true or false", key, value->dump());
        return value->get<bool>();
    }

    std::string text(const json& object, const char* key) const {
        const json* value = object.is_object() ? member(object, key) : nullptr;
        if (value == nullptr || !value->is_string()) damaged("it lacks the text '{}' in {}", key, shown(object));
        return value->get<std::string>();
    }

    static std::string shown(const json& value) {
        return value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 80);
    }

    void refuse_unless_null(const json& object, const char* key, const char* why) const {
        if (const json* value = member(object, key)) {
            const std::string kind =
                value->is_object() && value->contains("type") ? shown(value->at("type")) : shown(*value);
            unsupported("its {} {} is not supported: {}", key, kind, why);
        }
    }

    std::uint32_t id_of(const json& value, const std::string& token) const {
        if (!value.is_number_unsigned() || value.get<std::uint64_t>() >= kMostIds) {
            damaged("the id of token '{}' is {}, expected a number below {}", token, shown(value), kMostIds);
        }
        return value.get<std::uint32_t>();
    }

    void read_model(const json& model) {
        if (const json* type = member(model, "type"); type != nullptr && *type != "BPE") {
            unsupported("its model is of type {}, expected \"BPE\"", shown(*type));
        }
        for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
            const json* value = member(model, key);
            if (value != nullptr && *value != "") unsupported("its model has a {}: {}", key, shown(*value));
        }
        if (const json* dropout = member(model, "dropout"); dropout != nullptr && *dropout != 0) {
            unsupported("its model has a dropout of {}", shown(*dropout));
        }
        if (flag(model, "byte_fallback", false)) unsupported("its model has byte_fallback, which SentencePiece's have");
        definition_.ignore_merges = flag(model, "ignore_merges", false);
        read_vocabulary(model);
        read_merges(model);
    }

    void read_vocabulary(const json& model) {
        if (!object_at(model, "vocab")) damaged("its model has no object 'vocab'");
        for (const auto& [token, value] : model.at("vocab").items()) {
            const std::uint32_t id = id_of(value, token);
            ids_.emplace(token, id);
            if (id >= texts_.size()) texts_.resize(id + 1);
            if (!texts_[id].empty()) damaged("tokens '{}' and '{}' both have the id {}", texts_[id], token, id);
            if (token.empty()) damaged("the token with id {} is empty", id);
            texts_[id] = token;
        }
    }

    void read_merges(const json& model) {
        const json* merges = member(model, "merges");
        if (merges == nullptr || !merges->is_array()) damaged("its model has no array 'merges'");
        std::set<std::pair<std::uint32_t, std::uint32_t>> seen;
        definition_.merges.reserve(merges->size());
        for (const json& merge : *merges) {
            const auto [left, right] = halves(merge);
            const auto left_id = ids_.find(left);
            const auto right_id = ids_.find(right);
            if (left_id == ids_.end() || right_id == ids_.end() || !ids_.contains(left + right)) {
                damaged("merge {} ({}) needs a token that its vocabulary does not have", definition_.merges.size(),
                        shown(merge));
            }
            const std::pair pair(left_id->second, right_id->second);
            if (!seen.insert(pair).second)
                damaged("merge {} ({}) is there twice", definition_.merges.size(), shown(merge));
            definition_.merges.push_back(pair);
        }
    }

    /// "a b", or since 2024 ["a", "b"].
    std::pair<std::string, std::string> halves(const json& merge) const {
        if (merge.is_array() && merge.size() == 2 && merge[0].is_string() && merge[1].is_string()) {
            return {merge[0].get<std::string>(), merge[1].get<std::string>()};
        }
        if (merge.is_string()) {
            const auto both = merge.get<std::string>();
            const std::size_t blank = both.find(' ');
            if (blank != std::string::npos && both.find(' ', blank + 1) == std::string::npos) {
                return {both.substr(0, blank), both.substr(blank + 1)};
            }
        }
        damaged("merge {} is {}, expected \"a b\" or [\"a\", \"b\"]", definition_.merges.size(), shown(merge));
    }

    void read_added(const json& file) {
        const json* added = member(file, "added_tokens");
        if (added != nullptr && !added->is_array()) damaged("'added_tokens' is {}, expected an array", shown(*added));
        std::set<std::string> seen;
        for (const json& entry : added == nullptr ? json::array() : *added) {
            const AddedToken token{
                entry.is_object() && entry.contains("id") ? id_of(entry.at("id"), text(entry, "content")) : 0,
                text(entry, "content"), flag(entry, "special", false)};
            if (!entry.contains("id") || token.text.empty()) damaged("an added token is {}", shown(entry));
            if (!seen.insert(token.text).second) damaged("the added token '{}' is there twice", token.text);
            for (const char* key : {"single_word", "lstrip", "rstrip"}) {
                if (flag(entry, key, false)) unsupported("its added token '{}' has {}", token.text, key);
            }
            if (token.id >= texts_.size()) texts_.resize(token.id + 1);
            if (!texts_[token.id].empty() && texts_[token.id] != token.text) {
                damaged("tokens '{}' and '{}' both have the id {}", texts_[token.id], token.text, token.id);
            }
            const auto in_vocabulary = ids_.find(token.text);
            if (in_vocabulary != ids_.end() && in_vocabulary->second != token.id) {
                damaged("token '{}' has the ids {} and {}", token.text, in_vocabulary->second, token.id);
            }
            texts_[token.id] = token.text;
            definition_.added.push_back(token);
        }
    }

    void read_pre_tokenizer(const json& file) {
        const json* outer = member(file, "pre_tokenizer");
        if (outer == nullptr) unsupported("it has no pre_tokenizer: expected a 'ByteLevel' one");
        const bool sequence = outer->is_object() && text(*outer, "type") == "Sequence";
        const json* list = sequence ? member(*outer, "pretokenizers") : nullptr;
        if (sequence && (list == nullptr || !list->is_array())) damaged("its pre_tokenizer has no list");
        const json single = sequence ? json::array() : json::array({*outer});
        bool byte_level = false;
        for (const json& part : sequence ? *list : single) {
            if (byte_level) unsupported("its pre_tokenizer goes on after 'ByteLevel' with {}", shown(part));
            byte_level = read_step(part);
        }
        if (!byte_level) unsupported("its pre_tokenizer does not end with 'ByteLevel'");
    }

    /// True for ByteLevel, the last step.
    bool read_step(const json& step) {
        const std::string type = text(step, "type");
        if (type == "ByteLevel") {
            if (flag(step, "add_prefix_space", true))
                unsupported("its ByteLevel adds a prefix space, which changes the text");
            if (flag(step, "use_regex", true)) definition_.patterns.emplace_back(kGpt2Pattern);
            return true;
        }
        if (type == "Digits") {
            definition_.patterns.emplace_back(flag(step, "individual_digits", false) ? "\\p{N}" : "\\p{N}+");
            return false;
        }
        if (type != "Split") unsupported("its pre_tokenizer '{}' is not supported", type);
        const json* pattern = member(step, "pattern");
        if (pattern == nullptr || !pattern->is_object()) damaged("a Split has no pattern: {}", shown(step));
        if (!pattern->contains("Regex")) unsupported("a Split has the pattern {}, expected a Regex", shown(*pattern));
        const std::string regex = text(*pattern, "Regex");
        const std::string behavior = text(step, "behavior");
        const bool invert = flag(step, "invert", false);
        // Removing what lies between matches is the same as keeping it where nothing does: so the patterns we know.
        const bool nothing_between = behavior == "Removed" && invert && scanner_for(regex) != nullptr;
        if (!nothing_between && (behavior != "Isolated" || invert)) {
            unsupported("a Split has the behavior '{}'{}, expected 'Isolated'", behavior, invert ? " inverted" : "");
        }
        definition_.patterns.push_back(regex);
        return false;
    }

    void check_decoder(const json& file) const {
        const json* decoder = member(file, "decoder");
        if (decoder == nullptr) return;
        if (const std::string type = text(*decoder, "type"); type != "ByteLevel") {
            unsupported("its decoder '{}' is not supported, expected 'ByteLevel'", type);
        }
    }

    // What it adds (beginnings, ends) is not part of a text: documents get their end from the preparation.
    void check_post_processor(const json& file) const {
        const json* outer = member(file, "post_processor");
        if (outer == nullptr) return;
        const json* list = outer->is_object() ? member(*outer, "processors") : nullptr;
        const json single = json::array({*outer});
        for (const json& part : list != nullptr && list->is_array() ? *list : single) {
            const std::string type = text(part, "type");
            if (type != "ByteLevel" && type != "TemplateProcessing") {
                unsupported("its post_processor '{}' is not supported", type);
            }
        }
    }

    // Every byte must have a token, or some text could not be encoded.
    void check_bytes() {
        std::set<std::string> added;
        for (const AddedToken& token : definition_.added) added.insert(token.text);
        std::set<std::string> seen;
        definition_.tokens.resize(texts_.size());
        for (std::size_t id = 0; id < texts_.size(); ++id) {
            if (texts_[id].empty() || added.contains(texts_[id])) continue;
            if (!from_byte_level(texts_[id], definition_.tokens[id])) {
                unsupported("its token '{}' is not written in byte-level characters", texts_[id]);
            }
            seen.insert(definition_.tokens[id]);
        }
        for (unsigned byte = 0; byte < 256; ++byte) {
            if (!seen.contains(std::string(1, static_cast<char>(byte))))
                unsupported("it has no token for byte {:#04x}", byte);
        }
        for (const auto& [left, right] : definition_.merges) {
            if (definition_.tokens[left].empty() || definition_.tokens[right].empty()) {
                damaged("a merge makes use of the added token '{}'",
                        texts_[definition_.tokens[left].empty() ? left : right]);
            }
        }
    }

    const std::string& where_;
    BpeDefinition definition_;
    std::vector<std::string> texts_;  // as written, by id
    std::unordered_map<std::string, std::uint32_t> ids_;
};

ordered_json pre_tokenizer_of(const std::vector<std::string>& patterns) {
    ordered_json steps = ordered_json::array();
    for (const std::string& pattern : patterns) {
        steps.push_back(
            {{"type", "Split"}, {"pattern", {{"Regex", pattern}}}, {"behavior", "Isolated"}, {"invert", false}});
    }
    steps.push_back({{"type", "ByteLevel"}, {"add_prefix_space", false}, {"trim_offsets", true}, {"use_regex", false}});
    return {{"type", "Sequence"}, {"pretokenizers", steps}};
}

std::string quoted(const std::string& bytes) { return json(to_byte_level(bytes)).dump(); }

// By hand: a JSON object of the library looks through all its keys for each new one.
void append_model(std::string& text, const BpeDefinition& definition) {
    text +=
        ",\n  \"model\": {\n    \"type\": \"BPE\",\n    \"dropout\": null,\n    \"unk_token\": null,\n"
        "    \"continuing_subword_prefix\": null,\n    \"end_of_word_suffix\": null,\n    \"fuse_unk\": false,\n"
        "    \"byte_fallback\": false,\n    \"ignore_merges\": ";
    text += definition.ignore_merges ? "true" : "false";
    text += ",\n    \"vocab\": {";
    const char* between = "\n";
    for (std::size_t id = 0; id < definition.tokens.size(); ++id) {
        if (definition.tokens[id].empty()) continue;
        text += fmt::format("{}      {}: {}", between, quoted(definition.tokens[id]), id);
        between = ",\n";
    }
    text += "\n    },\n    \"merges\": [";
    between = "\n";
    for (const auto& [left, right] : definition.merges) {
        text += fmt::format(
            "{}      {}", between,
            json(to_byte_level(definition.tokens[left]) + " " + to_byte_level(definition.tokens[right])).dump());
        between = ",\n";
    }
    text += "\n    ]\n  }";
}

}  // namespace

BpeDefinition parse_tokenizer_json(std::string_view text, const std::string& where) {
    if (monitoring::nests_deeper_than(text, monitoring::kMostNesting)) {
        throw DataError("cannot use tokenizer '{}': it nests deeper than {} levels", where, monitoring::kMostNesting);
    }
    try {
        return Reader(where).read(json::parse(text));
    } catch (const json::exception& failure) {
        throw DataError("cannot use tokenizer '{}': {}", where, failure.what());
    }
}

std::string to_tokenizer_json(const BpeDefinition& definition) {
    ordered_json added = ordered_json::array();
    for (const AddedToken& token : definition.added) {
        added.push_back({{"id", token.id},
                         {"content", token.text},
                         {"single_word", false},
                         {"lstrip", false},
                         {"rstrip", false},
                         {"normalized", false},
                         {"special", token.special}});
    }
    const ordered_json decoder{
        {"type", "ByteLevel"}, {"add_prefix_space", true}, {"trim_offsets", true}, {"use_regex", true}};
    const ordered_json file{{"version", "1.0"},          {"truncation", nullptr},
                            {"padding", nullptr},        {"added_tokens", added},
                            {"normalizer", nullptr},     {"pre_tokenizer", pre_tokenizer_of(definition.patterns)},
                            {"post_processor", nullptr}, {"decoder", decoder}};
    std::string text = file.dump(2);
    text.resize(text.size() - 2);  // the end of the object, which the model is still to be in
    append_model(text, definition);
    return text + "\n}\n";
}

}  // namespace kiban::data
