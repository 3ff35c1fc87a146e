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
constexpr int kBatchRows = 32;  // of the run file

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

    Ended train(int steps, std::vector<std::string> more = {}) { return train_in("run", steps, std::move(more)); }
    Ended train_in(const std::string& run, int steps, std::vector<std::string> more = {},
                   const Process::Environment& environment = {}) {
        more.insert(more.end(), {"--set", "data.clean.anonymise.all=redact", "--set",
                                 fmt::format("train.steps={}", steps), "--set", "checkpoint.interval_steps=20"});
        return kiban(pretrain(run, 2, std::move(more)), environment);
    }
    std::string run() const { return (dir_ / "run").string(); }
    void leave_out(const std::string& run, int first) const {
        std::ofstream(dir_ / run / "journal.jsonl", std::ios::app)
            << fmt::format(R"({{"event":"rows_left_out","first":{},"count":{},"step":2,"why":"rollback","time":"x"}})"
                           "\n",
                           first, kBatchRows);
    }
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

TEST_F(Lineage, AMixtureThatChangesAndASourceThatIsAddedRepeatAndLoseNoRow) {
    ASSERT_EQ(train(40).exit_code, 0);
    const Ended before = kiban({"rows", run(), "--targets"});
    ASSERT_EQ(before.exit_code, 0) << before.output;
    const Ended early = kiban({"trace", run(), "--step", "30"});
    ASSERT_EQ(early.exit_code, 0) << early.output;

    std::ofstream(dir_ / "more.txt") << std::string(20000, 'x');
    const std::vector<std::string> changed = {"--set", "data.sources.0.weight=0.5",
                                              "--set", "data.sources.1.weight=2",
                                              "--set", "data.sources.2.path=more.txt"};
    const Ended gone_on = train(90, changed);
    ASSERT_EQ(gone_on.exit_code, 0) << gone_on.output;
    EXPECT_EQ(journaled("run", "mixture_changed"), 1U);
    const Ended after = kiban({"rows", run(), "--targets"});
    EXPECT_EQ(after.exit_code, 0) << after.output;
    EXPECT_TRUE(contains(after.output, "mixture from row 0 on: text.txt 1, letters.jsonl 1\n")) << after.output;
    EXPECT_TRUE(contains(after.output, "on: text.txt 0.5, letters.jsonl 2, more.txt 1\n")) << after.output;
    EXPECT_TRUE(contains(after.output, "no row came twice in an epoch")) << after.output;
    EXPECT_EQ(kiban({"trace", run(), "--step", "30"}).output, early.output);
    const Ended audit = kiban({"audit", run()});
    EXPECT_EQ(audit.exit_code, 0) << audit.output;
    EXPECT_TRUE(contains(audit.output, " was appended to ")) << audit.output;
    const Ended late = kiban({"trace", run(), "--step", "60"});
    EXPECT_TRUE(contains(late.output, "more.txt")) << late.output;

    // A worker that is killed behind the change and before the next save: the same order, told once, the same bits.
    const auto marker = (dir_ / "killed").string();
    ASSERT_EQ(train_in("again", 40).exit_code, 0);
    const Ended killed =
        train_in("again", 90, changed, {{"KIBAN_FAULT", "step.update=kill@47"}, {"KIBAN_FAULT_ONCE", marker}});
    ASSERT_EQ(killed.exit_code, 0) << killed.output;
    EXPECT_TRUE(std::filesystem::exists(marker)) << killed.output;
    EXPECT_EQ(journaled("again", "mixture_changed"), 1U);
    EXPECT_EQ(csv("again"), csv("run"));
    const Ended again = kiban({"rows", (dir_ / "again").string(), "--targets"});
    EXPECT_EQ(again.exit_code, 0) << again.output;

    // What is certified is what was done, with the mixture that it was done with.
    std::vector<std::string> certify = changed;
    certify.insert(certify.end(), {"--verify-resume", "20"});
    EXPECT_EQ(train(90, certify).exit_code, 0);
    const Ended weighed = train(90, {"--set", "data.sources.2.path=more.txt", "--verify-resume", "20"});
    EXPECT_EQ(weighed.exit_code, 0) << "the mixture is the record's\n" << weighed.output;
    const Ended other = train(90, {"--verify-resume", "20"});
    EXPECT_EQ(other.exit_code, 78) << other.output;

    // Other targets than now cannot be counted, and a fork of such a fork knows it.
    ASSERT_EQ(
        kiban({"fork", "run", "--step", "90", "--run-dir", "apart", "--set", "model.attention=document"}).exit_code, 0);
    ASSERT_EQ(kiban({"fork", "apart", "--step", "90", "--run-dir", "later"}).exit_code, 0);
    for (const char* run : {"apart", "later"}) {
        const Ended refused = kiban({"rows", (dir_ / run).string(), "--targets"});
        EXPECT_EQ(refused.exit_code, 78) << refused.output;
        EXPECT_TRUE(contains(refused.output, "cannot count the targets")) << refused.output;
        const Ended counted = kiban({"rows", (dir_ / run).string()});
        EXPECT_EQ(counted.exit_code, 0) << counted.output;
    }

    // The same weights again are no change, and fewer sources are refused.
    EXPECT_EQ(train(95, changed).exit_code, 0);
    EXPECT_EQ(journaled("run", "mixture_changed"), 1U);
    const Ended fewer = train(99);
    EXPECT_EQ(fewer.exit_code, 78) << fewer.output;
    EXPECT_TRUE(contains(fewer.output, "data.sources: saved 3 of them, now 2")) << fewer.output;

    // Rows that were left out are other ones in another mixture, and a corpus that cannot be read names no parent.
    leave_out("run", 96 * kBatchRows);
    std::ofstream(dir_ / "run" / "corpus.json")
        << fmt::format(R"({{"format":1,"manifest":"{}","digest":"0"}})", (dir_ / "text.txt").string());
    std::vector<std::string> evenly = changed;
    evenly[3] = "data.sources.1.weight=1";
    const Ended left_out = train(98, evenly);
    EXPECT_EQ(left_out.exit_code, 0) << left_out.output;
    EXPECT_TRUE(contains(left_out.output, "were left out of the order as it was mixed before")) << left_out.output;
    EXPECT_TRUE(contains(left_out.output, "does not name its parent '" + (dir_ / "text.txt").string()))
        << left_out.output;
    EXPECT_EQ(kiban({"rows", run(), "--targets"}).exit_code, 0);

    leave_out("run", kBatchRows);
    const Ended wrong = kiban({"rows", run()});
    EXPECT_EQ(wrong.exit_code, 65) << wrong.output;
    EXPECT_TRUE(contains(wrong.output, "the record does not add up")) << wrong.output;
}

TEST_F(Lineage, OfAForkGoesBackToWhereItsOwnRowsBegin) {
    ASSERT_EQ(train(40).exit_code, 0);
    ASSERT_EQ(kiban({"fork", "run", "--step", "40", "--run-dir", "same"}).exit_code, 0);
    const Ended same = kiban({"rows", (dir_ / "same").string(), "--targets"});
    EXPECT_EQ(same.exit_code, 0) << same.output;

    ASSERT_EQ(
        kiban({"fork", "run", "--step", "40", "--run-dir", "other", "--set", "run.seed=9", "--set", "train.steps=60"})
            .exit_code,
        0);
    ASSERT_EQ(kiban({"pretrain", "other/run.toml"}).exit_code, 0);
    ASSERT_EQ(kiban({"fork", "other", "--step", "60", "--run-dir", "last"}).exit_code, 0);
    for (const char* run : {"other", "last"}) {  // 20 steps with the other seed's rows
        const Ended rows = kiban({"rows", (dir_ / run).string(), "--targets"});
        EXPECT_EQ(rows.exit_code, 0) << rows.output;
    }
    const auto step = [&](const char* run, const char* number) {
        return kiban({"trace", (dir_ / run).string(), "--step", number});
    };
    EXPECT_EQ(step("other", "50").output, step("last", "50").output);
    EXPECT_NE(step("other", "50").output, step("run", "10").output) << "another seed's order";
    const Ended before = step("last", "40");
    EXPECT_EQ(before.exit_code, 65) << before.output;
    EXPECT_TRUE(contains(before.output, "forked from step 40 with other rows; ask its parent")) << before.output;
    const std::string traced = step("other", "50").output;
    int seen = -1;
    for (int i = 0; i < kLetters && seen < 0; ++i) seen = contains(traced, identity(i)) ? i : -1;
    ASSERT_GE(seen, 0) << "no letter is in step 50:\n" << traced;
    const Ended document = kiban({"trace", (dir_ / "other").string(), "--document", identity(seen)});
    EXPECT_TRUE(contains(document.output, "of 20 steps")) << document.output;
    EXPECT_TRUE(contains(document.output, "did not see it since the fork")) << document.output;

    // Rows of another length are not those whose targets were counted.
    std::string run_file = monitoring::read_text(dir_ / "same" / "run.toml");
    const std::string length = "sequence_length = ";
    const auto at = run_file.find(length) + length.size();
    run_file.replace(at, run_file.find('\n', at) - at, "9");
    std::ofstream(dir_ / "same" / "run.toml", std::ios::binary) << run_file;
    const Ended misfit = kiban({"rows", (dir_ / "same").string(), "--targets"});
    EXPECT_EQ(misfit.exit_code, 65) << misfit.output;
    EXPECT_TRUE(contains(misfit.output, "does not fit its rows: expected")) << misfit.output;
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
