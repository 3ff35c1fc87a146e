// SPDX-License-Identifier: Apache-2.0
// tokenizer_json_fuzz EXECUTIONS [SEED]: tokenizer.json files. Each is either refused by a DataError or a ConfigError,
// or a tokenizer that is the same after being written and read again and gives text back as it was.
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <memory>

#include "data/bpe/definition.h"
#include "data/bpe/encoder.h"
#include "data/bpe/model.h"
#include "monitoring/error.h"
#include "tests/support/fuzz.h"

namespace {

using namespace kiban;
using data::BpeDefinition;

BpeDefinition smallest(std::vector<std::string> patterns) {
    BpeDefinition definition;
    for (int byte = 0; byte < 256; ++byte) definition.tokens.emplace_back(1, static_cast<char>(byte));
    definition.tokens.emplace_back("th");
    definition.tokens.emplace_back("the");
    definition.tokens.emplace_back();
    definition.merges = {{'t', 'h'}, {256, 'e'}};
    definition.added = {{.id = 258, .text = "<|endoftext|>", .special = true}};
    definition.patterns = std::move(patterns);
    return definition;
}

// The tail, in which all is but the 256 bytes, is what is worth changing.
std::vector<std::string> corpus() {
    BpeDefinition odd = smallest({R"([\p{L}\p{M}]+|\s+)"});
    odd.added.push_back({.id = 259, .text = "  ", .special = false});
    odd.tokens.emplace_back();
    odd.ignore_merges = true;
    return {data::to_tokenizer_json(smallest({})),
            data::to_tokenizer_json(smallest({R"(\p{N}+)", R"(\s+(?!\S)|\s+)"})),
            data::to_tokenizer_json(odd),
            "{}",
            R"({"model":{"type":"BPE","vocab":{},"merges":[]}})",
            R"({"model":{"type":"Unigram"}})"};
}

std::string text_of(const data::BpeModel& model, const std::vector<std::uint32_t>& ids) {
    std::string text;
    for (const std::uint32_t id : ids) {
        const std::string* bytes = model.bytes_of(id);
        KIBAN_CHECK(bytes != nullptr, "token {} is none", id);
        text += *bytes;
    }
    return text;
}

bool execute(const std::string& text) {
    constexpr std::string_view kText = "the The  th\u00E9 12345\n\n <|endoftext|>\xFF\x80x";
    try {
        const BpeDefinition read = data::parse_tokenizer_json(text, "t");
        const std::string written = data::to_tokenizer_json(read);
        KIBAN_CHECK(data::to_tokenizer_json(data::parse_tokenizer_json(written, "again")) == written,
                    "another tokenizer came back");
        const auto model = std::make_shared<const data::BpeModel>(read);
        data::BpeEncoder encoder(model);
        std::vector<std::uint32_t> ids(kText.size() + data::BpeEncoder::kSlack);
        ids.resize(encoder.encode(kText, kText.size(), ids.data()));
        KIBAN_CHECK(text_of(*model, ids) == kText, "the text came back as '{}'", text_of(*model, ids));
        return true;
    } catch (const DataError&) {
        return false;
    } catch (const ConfigError&) {
        return false;
    }
}

}  // namespace

int main(int argc, char** argv) {
    const testing::FuzzTarget target{
        .corpus = corpus(),
        .tokens = {"0",
                   "-1",
                   "257",
                   "1048576",
                   "18446744073709551616",
                   "1.5",
                   "null",
                   "true",
                   "{}",
                   "[]",
                   "\"\"",
                   "\"type\":",
                   "\"Split\"",
                   "\"Digits\"",
                   "\"ByteLevel\"",
                   "\"Sequence\"",
                   "\"Regex\":",
                   "\"merges\":",
                   "\"vocab\":",
                   "\"t h\"",
                   "[\"t\", \"h\"]",
                   "\\u0120",
                   "\\ud800",
                   "(?=",
                   "(a+)+",
                   "\\p{",
                   "[",
                   "]",
                   "{",
                   "}",
                   "(",
                   ")",
                   "*",
                   "|",
                   "\\\\",
                   "\"",
                   ",",
                   ":",
                   "\xC3\x28"},
        .good = 3,
        .execute = execute,
        .replayed = {"{\"model\":" + std::string(200000, '['),
                     "{\"model\":{\"type\":\"BPE\",\"vocab\":" + std::string(200000, '[')}};
    return testing::fuzz(target, argc, argv);
}
