// SPDX-License-Identifier: Apache-2.0
// The small parts of training: which rows, which token, and the holdout loss on any number of workers.
#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>

#include "coordinator/job/inventory.h"
#include "data/prepare.h"
#include "monitoring/error.h"
#include "tests/support/message_of.h"
#include "tests/support/mpi_world.h"
#include "worker/train/evaluation.h"
#include "worker/train/generation.h"
#include "worker/train/job_corpus.h"
#include "worker/train/memory_limit.h"
#include "worker/train/rows.h"

namespace kiban::worker {
namespace {

namespace fs = std::filesystem;

TEST(MicroBatches, WorkersTakeContiguousBlocksThatTileTheStep) {
    for (const int workers : {1, 2, 3, 4, 6, 12}) {
        std::uint64_t next = 0;
        for (int rank = 0; rank < workers; ++rank) {
            const MicroBatches mine = micro_batches_of(24, 2, rank, workers);
            EXPECT_EQ(mine.first, next);
            EXPECT_EQ(mine.rows, 2U);
            next += mine.count;
        }
        EXPECT_EQ(next, 12U);
    }
}

TEST(MicroBatches, NumbersThatDoNotDivideAreRefused) {
    EXPECT_EQ(message_of<ConfigError>([] { (void)micro_batches_of(10, 4, 0, 1); }),
              "cannot cut a batch of 10 rows (train.batch_rows) into micro-batches of 4 rows (train.micro_batch_rows)");
    EXPECT_EQ(
        message_of<ConfigError>([] { (void)micro_batches_of(12, 4, 0, 2); }),
        "cannot share 3 micro-batches (train.batch_rows 12 / train.micro_batch_rows 4) among 2 data-parallel workers");
}

TEST(Vocabulary, IsTheTokenizersOrPaddedNeverLess) {
    coordinator::ModelConfig model;
    EXPECT_EQ(resolved_vocabulary(model, 257), 257);
    model.vocabulary = 320;
    EXPECT_EQ(resolved_vocabulary(model, 257), 320);
    model.vocabulary = 200;
    EXPECT_EQ(message_of<ConfigError>([&] { (void)resolved_vocabulary(model, 257); }),
              "model.vocabulary: expected at least the tokenizer's 257 tokens, found 200");
}

TEST(Sampling, TokensFallOnTheirShareOfTheInterval) {
    // Probabilities 1/8, 2/8, 5/8.
    const std::vector<float> logits = {0.0F, std::log(2.0F), std::log(5.0F)};
    EXPECT_EQ(sample_token(logits, 1.0, 0, 0.0), 0);
    EXPECT_EQ(sample_token(logits, 1.0, 0, 0.124), 0);
    EXPECT_EQ(sample_token(logits, 1.0, 0, 0.126), 1);
    EXPECT_EQ(sample_token(logits, 1.0, 0, 0.374), 1);
    EXPECT_EQ(sample_token(logits, 1.0, 0, 0.376), 2);
    EXPECT_EQ(sample_token(logits, 1.0, 0, 1.0 - 1e-16), 2);
}

TEST(Sampling, TemperatureSharpensAndZeroTakesTheLikeliest) {
    const std::vector<float> logits = {0.0F, std::log(2.0F), std::log(5.0F), -1e30F};
    EXPECT_EQ(sample_token(logits, 0, 0, 0.0), 2);
    // At temperature 1/2 the probabilities are 1/30, 4/30, 25/30.
    EXPECT_EQ(sample_token(logits, 0.5, 0, 1.0 / 30 + 1e-6), 1);
    EXPECT_EQ(sample_token(logits, 0.5, 0, 5.0 / 30 + 1e-6), 2);
}

TEST(Sampling, TopKLeavesTheLikeliestOnly) {
    const std::vector<float> logits = {0.0F, std::log(2.0F), std::log(6.0F)};
    EXPECT_EQ(sample_token(logits, 1.0, 2, 0.0), 1);  // 2/8 and 6/8 remain
    EXPECT_EQ(sample_token(logits, 1.0, 2, 0.26), 2);
    EXPECT_EQ(sample_token(logits, 1.0, 1, 0.0), 2);
    EXPECT_EQ(sample_token(logits, 1.0, 9, 0.0), 0);
}

TEST(Sampling, LogitsThatAreNotFiniteAreRefused) {
    const std::vector<float> logits = {NAN, INFINITY};
    EXPECT_NE(message_of<InternalError>([&] { (void)sample_token(logits, 1.0, 0, 0.5); }).find("cannot sample a token"),
              std::string::npos);
}

TEST(Sampling, UniformNumbersAreUniformAndTheirOwn) {
    double sum = 0;
    double squares = 0;
    constexpr int kCount = 20000;
    for (std::uint64_t i = 0; i < kCount; ++i) {
        const double value = uniform_at(3, i);
        ASSERT_GE(value, 0.0);
        ASSERT_LT(value, 1.0);
        sum += value;
        squares += value * value;
    }
    EXPECT_NEAR(sum / kCount, 0.5, 0.01);
    EXPECT_NEAR(squares / kCount, 1.0 / 3, 0.01);
    EXPECT_EQ(uniform_at(3, 17), uniform_at(3, 17));
    EXPECT_NE(uniform_at(3, 17), uniform_at(4, 17));
}

TEST(GenerationOptions, AreCheckedByName) {
    EXPECT_EQ(GenerationOptions::of(nlohmann::json::object()).max_tokens, 256);
    EXPECT_EQ(message_of<ConfigError>([] {
                  (void)GenerationOptions::of({{"top_k", -3}});
              }),
              "top_k: expected at least 0, found -3");
    EXPECT_EQ(message_of<ConfigError>([] {
                  (void)GenerationOptions::of({{"max_tokens", -1}});
              }),
              "max_tokens: expected at least 0, found -1");
    EXPECT_TRUE(message_of<ConfigError>([] {
                    (void)GenerationOptions::of({{"prompt", 7}});
                }).starts_with("cannot understand the options"));
}

// A corpus whose rows can be told apart, prepared once for all ranks.
class Rows : public ::testing::Test {
  protected:
    static constexpr std::uint32_t kTokens = 16;

    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "kiban-rows-XXXXXX").string();
        if (test_world().rank() == 0) {
            ASSERT_NE(::mkdtemp(name.data()), nullptr);
        }
        test_world().broadcast(std::as_writable_bytes(std::span<char>(name)), 0);
        directory_ = name;
        data::DataConfig config;
        config.sequence_length = kTokens;
        config.holdout.fraction = 0.2;
        config.sources.resize(1);
        config.sources[0].path = "text.txt";
        if (test_world().rank() == 0) {
            std::ofstream out(directory_ / "text.txt");
            for (int i = 0; i < 900; ++i) out << i << " is a number, ";
            out.close();
            data::prepare_here(config, directory_, directory_ / "corpora");
        }
        test_world().barrier();
        const data::Preparation prepared(config, directory_, directory_ / "corpora");
        corpus_ = std::make_unique<data::Corpus>(data::Manifest::load(prepared.manifest_file()),
                                                 std::vector<double>{1.0}, kTokens, 5);
        apart_ =
            std::make_unique<data::Corpus>(data::Manifest::load(prepared.manifest_file()), std::vector<double>{1.0},
                                           kTokens, 5, data::RowLayout{.documents_apart = true});
        test_world().barrier();
        if (test_world().rank() == 0) fs::remove_all(directory_);  // the mappings stay
    }

    fs::path directory_;
    std::unique_ptr<data::Corpus> corpus_;
    std::unique_ptr<data::Corpus> apart_;  // its documents do not see each other
};

TEST_F(Rows, TheWorkersTogetherReadTheRowsOfTheStepInOrder) {
    const std::uint64_t position = 40;
    std::vector<std::int64_t> inputs(8 * kTokens);
    std::vector<std::int64_t> targets(8 * kTokens);
    corpus_->read_train({.first = position, .count = 8}, inputs, targets);
    const auto present = static_cast<std::uint64_t>(
        std::count_if(targets.begin(), targets.end(), [](std::int64_t id) { return id != data::kMasked; }));
    for (const int workers : {1, 2, 4}) {
        std::vector<std::int64_t> seen_inputs;
        std::vector<std::int64_t> seen_targets;
        std::uint64_t counted = 0;
        for (int rank = 0; rank < workers; ++rank) {
            StepRows rows(*corpus_, micro_batches_of(8, 2, rank, workers));
            counted += rows.read(position);
            for (std::uint64_t m = 0; m < rows.micro_batches(); ++m) {
                const Batch batch = rows.micro_batch(m);
                EXPECT_EQ(batch.rows, 2);
                seen_inputs.insert(seen_inputs.end(), batch.inputs.begin(), batch.inputs.end());
                seen_targets.insert(seen_targets.end(), batch.targets.begin(), batch.targets.end());
                EXPECT_TRUE(batch.positions.empty()) << "nobody reads them";
            }
        }
        EXPECT_EQ(seen_inputs, inputs) << workers;
        EXPECT_EQ(seen_targets, targets) << workers;
        EXPECT_EQ(counted, present) << workers;
    }
}

TEST_F(Rows, WhoseDocumentsAreApartHaveThePositionsOfTheirTokens) {
    std::vector<std::int64_t> inputs(8 * kTokens);
    std::vector<std::int64_t> targets(8 * kTokens);
    std::vector<std::int32_t> positions(8 * kTokens);
    apart_->read_train({.first = 40, .count = 8}, inputs, targets, positions);
    for (const int workers : {1, 2}) {
        std::vector<std::int32_t> seen;
        for (int rank = 0; rank < workers; ++rank) {
            StepRows rows(*apart_, micro_batches_of(8, 2, rank, workers));
            rows.read(40);
            for (std::uint64_t m = 0; m < rows.micro_batches(); ++m) {
                const Batch batch = rows.micro_batch(m);
                seen.insert(seen.end(), batch.positions.begin(), batch.positions.end());
            }
        }
        EXPECT_EQ(seen, positions) << workers;
    }
}

// Targets that have no logit above theirs; `logits` is a row of them for each target.
std::uint64_t first_choices(const std::vector<float>& logits, std::span<const std::int64_t> targets) {
    const std::size_t vocabulary = logits.size() / targets.size();
    std::uint64_t right = 0;
    for (std::size_t i = 0; i < targets.size(); ++i) {
        if (targets[i] == data::kMasked) continue;
        const auto row = std::span(logits).subspan(i * vocabulary, vocabulary);
        right += *std::ranges::max_element(row) == row[static_cast<std::size_t>(targets[i])] ? 1U : 0U;
    }
    return right;
}

TEST_F(Rows, TheHoldoutLossIsTheSameForAnyNumberOfWorkersAndCountsEveryTarget) {
    coordinator::ModelConfig config;
    config.layers = 1;
    config.d_model = 16;
    config.heads = 2;
    Parameters parameters(coordinator::tensor_inventory(config, 257, kTokens));
    parameters.initialise(3);
    Transformer model(config, 257, kTokens, parameters);

    const std::uint64_t rows = corpus_->holdout_rows();
    std::vector<std::int64_t> inputs(rows * kTokens);
    std::vector<std::int64_t> targets(rows * kTokens);
    corpus_->read_holdout({.first = 0, .count = rows}, inputs, targets);
    double sum = 0;
    std::uint64_t present = 0;
    std::uint64_t right = 0;
    for (std::uint64_t row = 0; row < rows; ++row) {
        const Batch one{.rows = 1,
                        .inputs = std::span(inputs).subspan(row * kTokens, kTokens),
                        .targets = std::span(targets).subspan(row * kTokens, kTokens)};
        sum += model.loss_sum(one);
        for (const std::int64_t id : one.targets) present += id != data::kMasked ? 1 : 0;
        right += first_choices(model.logits(one.inputs, 1, kTokens), one.targets);
    }
    ASSERT_NE(rows % 7, 0U) << "the last micro-batch must be filled up for this test to mean anything";

    std::uint64_t passes = 0;
    const auto score = [&](const Batch& batch) {
        ++passes;
        const auto pass = model.evaluate(batch);
        return Scored{.loss = pass->loss_sum(), .first_choices = pass->first_choices()};
    };
    const auto alone = Evaluation(*corpus_, 7, Group::alone(), Group::alone()).holdout(score);
    const auto together = Evaluation(*corpus_, 7, test_world(), test_world()).holdout(score);
    ASSERT_TRUE(alone.has_value());
    EXPECT_EQ(together, alone);
    const std::uint64_t all = (rows + 6) / 7;
    const auto workers = static_cast<std::uint64_t>(test_world().size());
    EXPECT_EQ(passes, all + (all + workers - 1) / workers)
        << "alone, and on each of the workers as many as on the others";
    EXPECT_NEAR(alone->loss, sum / static_cast<double>(present), 1e-6);
    EXPECT_EQ(alone->targets, present);
    EXPECT_DOUBLE_EQ(alone->accuracy, static_cast<double>(right) / static_cast<double>(present));
}

TEST(MemoryLimit, AModelThatFitsIsNotRefusedAndOneThatDoesNotIsRefusedWithTheNumbers) {
    const std::uint64_t mib = std::uint64_t{1} << 20;
    coordinator::MemoryPlan memory;
    memory.weights = memory.gradients = 100 * mib;
    memory.optimizer = 200 * mib;
    memory.activations = 30 * mib;
    memory.rows = 20 * mib;
    memory.process = 500 * mib;
    EXPECT_EQ(beyond(memory, {"RLIMIT_AS (ulimit -v)", 1450 * mib, 1000 * mib}), std::nullopt);
    EXPECT_EQ(beyond(memory, {"RLIMIT_AS (ulimit -v)", 1449 * mib, 1000 * mib}),
              "this worker needs 450 MiB more (weights 100 MiB, gradients 100 MiB, optimizer 200 MiB, activations 30 "
              "MiB, buffers 20 MiB), and RLIMIT_AS (ulimit -v) leaves it 449 MiB");
}

}  // namespace
}  // namespace kiban::worker
