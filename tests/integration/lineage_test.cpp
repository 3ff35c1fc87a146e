// SPDX-License-Identifier: Apache-2.0
// From a run to the documents that it learned from and back, what of them was taken out, and a document that is
// forgotten.
#include <fmt/format.h>

#include <array>
#include <fstream>

#include "data/document_id.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {
namespace {

constexpr int kLetters = 400;

// As they are after anonymisation.
std::string letter(int number, const std::string& address) {
    return fmt::format("Letter {} to {}: the answer to your question of the {}th day is {}.", number, address,
                       1 + number % 28, number * 7);
}

std::string identity(int number) {
    const std::array<data::DocumentId, 1> id = {data::document_id_of(letter(number, "<EMAIL>"))};
    return data::to_hex(id);
}

class Lineage : public RunTest {
  protected:
    void SetUp() override {
        RunTest::SetUp();
        std::ofstream letters(dir_ / "letters.jsonl");
        for (int i = 0; i < kLetters; ++i)
            letters << fmt::format("{{\"text\":\"{}\"}}\n", letter(i, fmt::format("someone{}\\u0040example.org", i)));
        std::ofstream run_file(dir_ / "run.toml", std::ios::app);
        run_file << "\n[[data.sources]]\npath = \"letters.jsonl\"\nlicence = \"ours\"\nsensitivity = \"internal\"\n"
                    "max_bytes = 1000000\n";
    }

    Ended train(int steps, std::vector<std::string> more = {}) {
        more.insert(more.end(), {"--set", "data.clean.anonymise.all=redact", "--set",
                                 fmt::format("train.steps={}", steps), "--set", "checkpoint.interval_steps=20"});
        return kiban(pretrain("run", 2, std::move(more)));
    }
    std::string run() const { return (dir_ / "run").string(); }
};

TEST_F(Lineage, OfAStepAndOfADocumentAgreeAndAForgottenOneIsNotReadAgain) {
    ASSERT_EQ(train(40).exit_code, 0);
    const Ended step = kiban({"trace", run(), "--step", "30"});
    ASSERT_EQ(step.exit_code, 0) << step.output;
    int seen = -1;
    for (int i = 0; i < kLetters && seen < 0; ++i) seen = contains(step.output, identity(i)) ? i : -1;
    ASSERT_GE(seen, 0) << "no letter is in step 30:\n" << step.output;
    const std::string id = identity(seen);

    const Ended document = kiban({"trace", run(), "--document", id});
    ASSERT_EQ(document.exit_code, 0) << document.output;
    EXPECT_TRUE(contains(document.output, "letters.jsonl:")) << document.output;
    EXPECT_TRUE(contains(document.output, "of 40 steps")) << document.output;
    EXPECT_TRUE(contains(document.output, "saw it")) << document.output;
    const Ended none = kiban({"trace", run(), "--document", std::string(32, '0')});
    EXPECT_EQ(none.exit_code, 65) << none.output;
    EXPECT_EQ(kiban({"trace", run()}).exit_code, 64);
    EXPECT_EQ(kiban({"trace", run(), "--step", "0"}).exit_code, 64);

    std::ofstream(dir_ / "forget") << id << "  # as asked\n";
    const Ended gone_on = train(60, {"--set", "data.forget=forget"});
    EXPECT_EQ(gone_on.exit_code, 0) << gone_on.output;
    EXPECT_EQ(last_step("run"), 60U);
    EXPECT_FALSE(contains(gone_on.output, "does not hold")) << gone_on.output;
    EXPECT_EQ(kiban({"trace", run(), "--step", "30"}).output, step.output);
    EXPECT_TRUE(contains(kiban({"trace", run(), "--document", id}).output, "forgotten: since the run last started"));
    std::ofstream(dir_ / "forget") << id << "\n" << std::string(32, '7') << "\n";
    const Ended unknown = train(62, {"--set", "data.forget=forget"});
    EXPECT_EQ(unknown.exit_code, 0) << unknown.output;
    EXPECT_TRUE(contains(unknown.output, "1 documents that the corpus does not hold")) << unknown.output;
    EXPECT_TRUE(contains(monitoring::read_text(dir_ / "run" / "journal.jsonl"), "forget_unknown"));
    std::ofstream(dir_ / "forget") << "nonsense\n";
    const Ended refused = train(80, {"--set", "data.forget=forget"});
    EXPECT_EQ(refused.exit_code, 65) << refused.output;
    EXPECT_TRUE(contains(refused.output, "line 1: expected a document's identity")) << refused.output;
}

TEST_F(Lineage, OfARunThatRefusedAStepIsToldUpToThereOnly) {
    ASSERT_EQ(train(20).exit_code, 0);
    ASSERT_EQ(kiban({"trace", run(), "--step", "4"}).exit_code, 0);
    std::ofstream(dir_ / "run" / "journal.jsonl", std::ios::app)
        << R"({"event":"step_refused","position":0,"rows":1,"step":1,"time":"x"})"
        << "\n";
    const Ended step = kiban({"trace", run(), "--step", "4"});
    EXPECT_EQ(step.exit_code, 65) << step.output;
    EXPECT_TRUE(contains(step.output, "found rows refused or left out from row 0 on")) << step.output;
    EXPECT_EQ(kiban({"trace", run(), "--document", identity(0)}).exit_code, 65);
}

TEST_F(Lineage, TheAuditOfARunFindsNothingLeftAndAnyChangeOfItsLog) {
    ASSERT_EQ(train(20).exit_code, 0);
    const Ended audit = kiban({"audit", run()});
    EXPECT_EQ(audit.exit_code, 0) << audit.output;
    EXPECT_TRUE(contains(audit.output, "0 of what was to be taken out is left")) << audit.output;
    EXPECT_TRUE(contains(audit.output, fmt::format("{} values in {} documents", kLetters, kLetters))) << audit.output;
    std::filesystem::path log;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(dir_))
        if (entry.path().filename() == "audit.jsonl") log = entry.path();
    ASSERT_FALSE(log.empty());
    std::string text = monitoring::read_text(log);
    text[text.find("email")] = 'E';
    std::ofstream(log, std::ios::binary) << text;
    const Ended changed = kiban({"audit", run()});
    EXPECT_EQ(changed.exit_code, 65) << changed.output;
    EXPECT_TRUE(contains(changed.output, "was changed")) << changed.output;
}

}  // namespace
}  // namespace kiban::testing
