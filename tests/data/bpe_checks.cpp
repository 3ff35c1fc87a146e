// SPDX-License-Identifier: Apache-2.0
#include "tests/data/bpe_checks.h"

#include <gtest/gtest.h>

#include <array>
#include <random>

#include "bpe_reference.h"
#include "data/bpe/encoder.h"
#include "files.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

std::vector<std::uint32_t> ends_of(Splitter& splitter, std::string_view text) {
    std::vector<std::uint32_t> ends;
    std::array<std::uint32_t, 300> part;
    splitter.begin(text);
    while (const std::size_t count = splitter.next(part)) ends.insert(ends.end(), part.begin(), part.begin() + count);
    return ends;
}

std::string damaged(std::string text, std::mt19937_64& random) {
    static const std::string syntax = "{}[]\",:0123456789-eE.\\ntrufalse \xC4\xA0";
    const auto any = [&] { return random() % text.size(); };
    for (std::size_t changes = 1 + random() % 3; changes > 0; --changes) {
        switch (random() % 5) {
            case 0: text[any()] = syntax[random() % syntax.size()]; break;
            case 1: text[any()] = static_cast<char>(random()); break;
            case 2: text.erase(any(), 1 + random() % 20); break;
            case 3: text = text.substr(0, any()).append(text, any(), std::string::npos); break;
            default: text.resize(1 + any()); break;
        }
        if (text.empty()) text.push_back('{');
    }
    return text;
}

}  // namespace

std::vector<const char*> all_patterns() {
    return {kGpt2Pattern, kLlama3Pattern, kQwen2Pattern, kGpt2PossessivePattern, kCl100kPossessivePattern};
}

std::vector<std::string> pieces_of(Splitter& splitter, const std::string& text) {
    std::vector<std::string> pieces;
    std::size_t begin = 0;
    for (const std::uint32_t end : ends_of(splitter, text)) {
        pieces.push_back(text.substr(begin, end - begin));
        begin = end;
    }
    EXPECT_EQ(begin, text.size());
    return pieces;
}

void compare_paths_on_random_text(const std::string& pattern, std::size_t texts, std::uint64_t seed) {
    const SplitterFactory factory({pattern});
    ASSERT_TRUE(factory.has_scanner());
    const auto scanner = factory.make();
    const auto generic = factory.make_generic();
    std::mt19937_64 random(seed);
    for (std::size_t i = 0; i < texts; ++i) {
        const std::string text = i % 2 == 0 ? random_text(random, 1 + random() % 24, i % 4 == 0 ? 12 : 0)
                                            : random_ascii(random, 1 + random() % 300, i % 4 == 1 ? 100'000 : 20);
        ASSERT_EQ(ends_of(*scanner, text), ends_of(*generic, text)) << pattern << "\n" << testing::PrintToString(text);
    }
}

std::uint64_t compare_paths_on_files(const std::string& pattern, const std::filesystem::path& directory,
                                     std::uint64_t most_bytes) {
    const SplitterFactory factory({pattern});
    const auto scanner = factory.make();
    const auto generic = factory.make_generic();
    std::uint64_t bytes = 0;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
        if (!entry.is_regular_file()) continue;
        const std::string text = read_file(entry.path()).substr(0, most_bytes);
        bytes += text.size();
        EXPECT_EQ(ends_of(*scanner, text), ends_of(*generic, text)) << pattern << "\n" << entry.path();
    }
    return bytes;
}

void read_damaged_tokenizers(std::size_t files, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::size_t refused = 0;
    for (std::size_t i = 0; i < files; ++i) {
        const BpeDefinition definition = random_definition(random, 20, all_patterns()[i % 5]);
        const std::string file = damaged(to_tokenizer_json(definition), random);
        const std::string text = random_text(random, 20, 10);
        try {
            const auto model = std::make_shared<const BpeModel>(parse_tokenizer_json(file, "damaged.json"));
            std::vector<std::uint32_t> ids(text.size() + BpeEncoder::kSlack);
            ids.resize(BpeEncoder(model).encode(text, text.size(), ids.data()));
            std::string decoded;
            for (const std::uint32_t id : ids) decoded += *model->bytes_of(id);
            ASSERT_EQ(decoded, text);
        } catch (const DataError&) {
            ++refused;
        } catch (const ConfigError&) {
            ++refused;
        }
    }
    EXPECT_GT(refused, files / 2);
}

}  // namespace kiban::data
