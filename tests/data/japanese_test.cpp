// SPDX-License-Identifier: Apache-2.0
// Japanese text goes the way of all text: Debian's Japanese manual pages where they are installed, otherwise sentences
// that are made up, and letters with personal data in them.
#include <array>
#include <random>

#include "data/bpe/unicode.h"
#include "data/prepare.h"
#include "data/privacy/audit.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

const char* const kPages = "/usr/share/man/ja/man7";  // of the package manpages-ja

std::string line(const std::string& text) { return nlohmann::json{{"text", text}}.dump() + "\n"; }

const std::string kLetter =
    "拝啓　平素より大変お世話になっております。山田株式会社（法人番号：7000012050002）です。\n"
    "住所は〒100-0001 東京都千代田区、電話は０３ー１２３４ー５６７８、携帯は090-1234-5678です。\n"
    "担当の連絡先はtaro＠example.co.jpまたはhanako@example.jpです。マイナンバーは123456789018、"
    "カードは4111-1111-1111-1111です。\n"
    "版は1.2.3、日付は2024-01-02、価格は１２３４円です。敬具\n";
const std::string kAnonymised =
    "拝啓　平素より大変お世話になっております。山田株式会社（法人番号：<CORPORATE_NUMBER>）です。\n"
    "住所は〒<POSTAL_CODE> 東京都千代田区、電話は<PHONE>、携帯は<PHONE>です。\n"
    "担当の連絡先は<EMAIL>または<EMAIL>です。マイナンバーは<MY_NUMBER>、"
    "カードは<CARD>です。\n"
    "版は1.2.3、日付は2024-01-02、価格は１２３４円です。敬具\n";

// The path of a source of Japanese text: made up where the system was told to install no manual pages, as containers
// are.
std::string japanese_source(const TempDirectory& directory) {
    if (std::filesystem::is_directory(kPages)) return kPages;
    const std::array<std::string, 6> subjects = {"基盤", "設計", "計算機", "学習", "文書", "保存"};
    const std::array<std::string, 6> verbs = {"説明します", "始めます", "続けます",
                                              "確かめます", "止めます", "直します"};
    std::mt19937_64 random(6);
    std::string lines;
    for (int document = 0; document < 300; ++document) {
        std::string text;
        for (int sentence = 0; sentence < 40; ++sentence)
            text += fmt::format("第{}の{}を{}。これは{}です。", random() % 1000, subjects[random() % 6],
                                verbs[random() % 6], subjects[random() % 6]);
        lines += line(text);
    }
    directory.write("made.jsonl", lines);
    return "made.jsonl";
}

std::string decoded(const Manifest& manifest, const ManifestSource& source) {
    std::vector<std::int64_t> ids = tokens_of(manifest, source.train);
    const auto held_out = tokens_of(manifest, source.holdout);
    ids.insert(ids.end(), held_out.begin(), held_out.end());
    return manifest.load_tokenizer().decode(ids);
}

TEST(JapaneseCorpus, IsCleanedAnonymisedAndTokenizedWithoutASpecialCase) {
    const TempDirectory directory;
    directory.write("letters.jsonl", line(kLetter) + line("追伸：" + kLetter) + line(kLetter));
    DataConfig config = config_of(japanese_source(directory));
    config.sources.emplace_back().path = "letters.jsonl";
    config.tokenizer = "bpe:2000";
    config.unit_bytes = 100'000;
    config.clean.normalise = "text";
    config.clean.deduplicate = "near";
    config.clean.anonymise.all = "redact";
    const Manifest manifest = prepare_here(config, directory.path(), directory / "corpora");
    const ManifestSource& pages = manifest.sources[0];
    EXPECT_GT(pages.documents, 40u);
    const std::string text = decoded(manifest, pages);
    EXPECT_TRUE(is_utf8(text));
    EXPECT_NE(text.find("です"), std::string::npos);
    // A tokenizer that learned nothing of the script would need a token for each byte.
    EXPECT_GT(static_cast<double>(text.size()) / static_cast<double>(pages.train.tokens), 2.0);
    EXPECT_EQ(decoded(manifest, manifest.sources[1]), kAnonymised) << "the other letters are nearly the same";
    EXPECT_EQ(manifest.sources[1].cleaned.dropped.at("duplicate"), 1u);
    EXPECT_EQ(manifest.sources[1].cleaned.dropped.at("near_duplicate"), 1u);
    EXPECT_TRUE(audit_corpus(manifest).residuals.empty());
}

}  // namespace
}  // namespace kiban::data
