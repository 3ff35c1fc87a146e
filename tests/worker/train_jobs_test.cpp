// SPDX-License-Identifier: Apache-2.0
// Whole jobs through the real control channel, corpus and checkpoints; the coordinator's side is
// tests/worker/train_conductor.h.
#include "tests/worker/train_jobs.h"

#include <ATen/Context.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cctype>
#include <cmath>
#include <fstream>
#include <functional>

#include "coordinator/job/layout.h"
#include "data/prepare.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::worker {
namespace {

namespace fs = std::filesystem;
using coordinator::Job;
using coordinator::StepReport;

constexpr auto kTokens = kSmallRunTokens;
constexpr auto kRows = kSmallRunRows;

std::vector<double> losses_of(const std::vector<StepReport>& steps) {
    std::vector<double> losses;
    for (const StepReport& step : steps) losses.push_back(step.loss);
    return losses;
}

// Steps at whose end a checkpoint was due.
std::vector<std::uint64_t> saved_or_skipped(const Conductor& heard) {
    std::vector<std::uint64_t> steps;
    for (const auto& stage : heard.stages) steps.push_back(stage.step);
    for (const StepReport& step : heard.steps) {
        if (step.save_skipped) steps.push_back(step.step);
    }
    std::sort(steps.begin(), steps.end());
    return steps;
}

TEST_F(Jobs, TrainingReportsEveryStepSavesAndFinishes) {
    const auto heard = run({.job = job()});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    ASSERT_EQ(heard->steps.size(), 12U);
    for (std::uint64_t i = 0; i < 12; ++i) {
        const StepReport& step = heard->steps[i];
        EXPECT_EQ(step.step, i + 1);
        EXPECT_EQ(step.step_tokens, kRows * kTokens);
        EXPECT_EQ(step.tokens, (i + 1) * kRows * kTokens);
        EXPECT_EQ(step.eval_loss.has_value(), i + 1 == 5 || i + 1 == 10 || i + 1 == 12) << i + 1;
        const coordinator::RunFile file = run_file();
        EXPECT_EQ(step.learning_rate,
                  coordinator::learning_rate_at(file.train.optimizer, file.train.schedule, i + 1, 12));
        EXPECT_EQ(step.clipped, step.grad_norm > 1.0);
        for (const char* phase : {"data", "forward", "backward", "reduce", "optimizer"})
            EXPECT_GE(step.phase_seconds.at(phase), 0.0) << phase;
    }
    EXPECT_NEAR(heard->steps[0].loss, std::log(257.0), 0.2) << "initial weights know nothing";
    EXPECT_LT(heard->steps[11].loss, heard->steps[0].loss - 1.0);
    EXPECT_NEAR(*heard->steps[11].eval_loss, heard->steps[11].loss, 0.5);
    ASSERT_EQ(heard->loads.size(), 1U);
    EXPECT_EQ(heard->loads[0].exactness, "exact");
    // That of step 10 is skipped where that of step 5 is still being written.
    const std::vector<std::uint64_t> all = {0, 5, 10, 12};
    EXPECT_EQ(saved_or_skipped(*heard), all);
    EXPECT_EQ(heard->committed.size(), heard->stages.size());
    for (const auto& stage : heard->stages) EXPECT_EQ(stage.waited_for, stage.step == 0 || stage.step == 12);
    EXPECT_EQ(heard->finished.size(), static_cast<std::size_t>(ranks()));
    for (const auto& [rank, finished] : heard->finished) {
        EXPECT_EQ(finished.step, 12U);
        EXPECT_FALSE(finished.stopped);
    }
}

TEST_F(Jobs, HeartbeatsCountThePassesOfMicroBatchesAndThoseOfEvaluations) {
    const auto thrice = run({.job = job()});  // it evaluates after steps 5, 10 and 12
    const auto once = run({.job = job({"train.eval_interval_steps=0"})});
    ASSERT_EQ(failure_, "");
    if (!thrice || !once) return;
    const std::uint64_t passes = 12 * 2 * (kRows / 2) / static_cast<std::uint64_t>(ranks());
    for (int rank = 0; rank < ranks(); ++rank) {
        const std::uint64_t evaluated = (thrice->beats.at(rank).work - once->beats.at(rank).work) / 2;
        EXPECT_GT(evaluated, 0U) << rank;
        EXPECT_EQ(once->beats.at(rank).work, passes + evaluated) << rank;
        EXPECT_EQ(thrice->beats.at(rank).work, passes + 3 * evaluated) << rank;
        EXPECT_EQ(once->beats.at(rank).busy_steps, 12U) << "the passes of a step are one";
    }
}

TEST_F(Jobs, EveryEvaluationSaysHowTheNetworkIs) {
    const auto heard = run({.job = job()});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    ASSERT_EQ(heard->health.size(), 3U);
    for (std::size_t i = 0; i < 3; ++i) EXPECT_EQ(heard->health[i].step, (std::array{5U, 10U, 12U}[i]));
    for (const coordinator::Health& said : heard->health) {
        ASSERT_GE(said.of.groups.size(), 4U);
        for (const auto& group : said.of.groups) {
            EXPECT_GT(group.update, 0) << group.group;
            EXPECT_GT(group.parameters, group.update) << group.group;
        }
        ASSERT_EQ(said.of.layers.size(), static_cast<std::size_t>(run_file().model.layers));
        for (const auto& layer : said.of.layers) {
            EXPECT_GT(layer.largest, layer.rms);
            EXPECT_GT(layer.rms, 0);
            EXPECT_GT(layer.attention_entropy_nats, 0);
            EXPECT_LE(layer.attention_entropy_nats, std::log(static_cast<double>(kTokens)));
        }
        EXPECT_GT(said.of.output_logit_max.value(), 0);
        EXPECT_GT(said.of.embedding_effective_rank.value(), 1);
        EXPECT_LE(said.of.embedding_effective_rank.value(), static_cast<double>(run_file().model.d_model));
        EXPECT_LT(said.of.embedding_uniformity.value(), 0);
        EXPECT_GT(said.of.adam_second_moment_norm.value(), 0);
    }
    EXPECT_GT(heard->health[2].of.output_logit_max.value(), heard->health[0].of.output_logit_max.value())
        << "it has learnt to prefer some tokens";
}

struct Exchanged {
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;
    bool operator==(const Exchanged&) const = default;
};

Exchanged exchanged(const StepReport& step, const std::string& group, const std::string& operation) {
    for (const coordinator::Traffic& row : step.traffic) {
        EXPECT_GE(row.seconds, 0.0);
        if (row.group == group && row.operation == operation) return {row.calls, row.bytes};
    }
    return {};
}

// ZeRO-1: a rank sends the others their parts of each padded bucket's gradients, then its own values to each of them.
TEST_F(Jobs, AStepReportsTheTrafficOfWorker0AsTheLayoutHasIt) {
    const auto heard = run({.job = job({"parallel.zero=1"})});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    const auto workers = static_cast<std::uint64_t>(ranks());
    const coordinator::Layout layout = coordinator::layout_of(run_file().model, 257, kTokens, {}, ranks());
    Exchanged expected;
    if (workers > 1) {
        for (const coordinator::Bucket& bucket : layout.buckets) {
            ++expected.calls;
            expected.bytes += 4 * static_cast<std::uint64_t>(bucket.padded) / workers * (workers - 1);
        }
    }
    ASSERT_EQ(heard->steps.size(), 12U);
    for (const StepReport& step : heard->steps) {
        EXPECT_EQ(exchanged(step, "data", "reduce_scatter"), expected) << step.step;
        EXPECT_EQ(exchanged(step, "data", "all_gather"), expected) << step.step;
        EXPECT_EQ(exchanged(step, "tensor", "all_gather"), Exchanged{}) << step.step;
        EXPECT_EQ(step.traffic.empty(), workers == 1);
    }
}

TEST_F(Jobs, AStopSavesAtOneStepOnAllWorkersAndAResumeGoesOnWithTheSameBits) {
    constexpr std::uint64_t kAll = 200;  // so many that a stop is heard before the last one
    const std::string all = fmt::format("train.steps={}", kAll);
    const auto whole = run({.job = job({all})});
    const auto before = run({.job = job({all}), .stop_after_step = 3});
    ASSERT_EQ(failure_, "");
    std::string saved;
    if (before) {
        const std::uint64_t stopped_at = before->finished.at(0).step;
        EXPECT_LT(stopped_at, kAll);
        for (const auto& [rank, finished] : before->finished) {
            EXPECT_TRUE(finished.stopped);
            EXPECT_EQ(finished.step, stopped_at);
        }
        EXPECT_EQ(before->stages.back().step, stopped_at);
        saved = before->committed.back();
    }
    const auto after = run({.job = job({all}, shared(saved))});
    ASSERT_EQ(failure_, "");
    if (!after) return;
    EXPECT_EQ(after->loads[0].exactness, "exact");
    std::vector<StepReport> pieces = before->steps;
    pieces.insert(pieces.end(), after->steps.begin(), after->steps.end());
    ASSERT_EQ(pieces.size(), kAll);
    for (std::size_t i = 0; i < kAll; ++i) {
        const StepReport& expected = whole->steps[i];
        EXPECT_EQ(std::bit_cast<std::uint64_t>(pieces[i].loss), std::bit_cast<std::uint64_t>(expected.loss))
            << "step " << i + 1;
        EXPECT_EQ(pieces[i].grad_norm, expected.grad_norm);
        EXPECT_EQ(pieces[i].tokens, expected.tokens);
        EXPECT_EQ(pieces[i].eval_loss, expected.eval_loss);
    }
    EXPECT_EQ(after->stages.back().state.at("best_eval_loss"), whole->stages.back().state.at("best_eval_loss"));
}

TEST_F(Jobs, ADamagedCheckpointIsRefusedByAllAndAnOlderOneTaken) {
    const auto first = run({.job = job()});
    std::string newest;
    std::string older;
    if (first) {
        newest = first->committed.back();
        older = first->committed[1];  // of step 5
        const fs::path shard =
            fs::path(newest) / checkpoint::shard_file_name(ranks() - 1);  // the last worker's: others see no damage
        monitoring::File file = monitoring::File::open_write(shard);
        std::byte last{};
        file.read_at(file.size() - 1, {&last, 1});
        last ^= std::byte{1};
        file.write_at(file.size() - 1, {&last, 1});
    }
    const auto second = run({.job = job({}, shared(newest)), .older_checkpoint = shared(older)});
    ASSERT_EQ(failure_, "");
    if (!second) return;
    ASSERT_EQ(second->loads.size(), 2U);
    EXPECT_TRUE(second->loads[0].error.starts_with(fmt::format("worker {}: ", ranks() - 1))) << second->loads[0].error;
    EXPECT_NE(second->loads[0].error.find(checkpoint::shard_file_name(ranks() - 1)), std::string::npos)
        << second->loads[0].error;
    EXPECT_EQ(second->loads[1].error, "");
    ASSERT_EQ(second->steps.size(), 7U);
    EXPECT_EQ(second->steps[0].step, 6U);
    const std::vector<StepReport> expected(first->steps.begin() + 5, first->steps.end());
    EXPECT_EQ(losses_of(second->steps), losses_of(expected));
}

TEST_F(Jobs, ACheckpointThatCannotBeReadHereIsAnIoErrorOnAllAndNotCalledDamaged) {
    const auto heard = run({.job = job({}, shared("/not/mounted/ckpt/step-000000000005-a000001"))});
    EXPECT_TRUE(failure_.starts_with("IoError: worker 0: cannot read checkpoint '/not/mounted/ckpt/")) << failure_;
    if (!heard) return;
    EXPECT_TRUE(heard->loads.empty());
    EXPECT_EQ(heard->failures.size(), static_cast<std::size_t>(ranks()));
    EXPECT_EQ(heard->failures.at(0).exit_code, kExitIo);
}

TEST_F(Jobs, OtherNumbersOfWorkersSeeTheSameBatches) {
    const auto all = run({.job = job()});
    const std::string saved = shared(all ? all->committed[1] : "");
    const Group mine = test_world().split(me(), 0, "one of them");
    std::unique_ptr<Conductor> one;
    if (me() == 0) one = run({.job = job({}, saved, 1)}, mine);
    ASSERT_EQ(failure_, "");
    if (!one) return;
    EXPECT_EQ(one->loads[0].exactness,
              ranks() == 1 ? "exact" : fmt::format("sample-exact: workers was {}, is 1", ranks()));
    ASSERT_EQ(one->steps.size(), 7U);
    for (std::size_t i = 0; i < 7; ++i) {
        const StepReport& expected = all->steps[i + 5];
        EXPECT_NEAR(one->steps[i].loss, expected.loss, 1e-5 * expected.loss);
        EXPECT_EQ(one->steps[i].tokens, expected.tokens);
    }
    EXPECT_NEAR(*one->steps[6].eval_loss, *all->steps[11].eval_loss, 1e-5);
}

// With a device the job is done.
TEST_F(Jobs, WithoutACudaDeviceTrainingOnOneIsRefusedBeforeStepZero) {
    const auto heard = run({.job = job({"train.device=cuda"})});
    if (at::globalContext().hasCUDA()) return;
    EXPECT_TRUE(failure_.starts_with("ConfigError: train.device = 'cuda': expected a CUDA device, found LibTorch "))
        << failure_;
    if (!heard) return;
    EXPECT_TRUE(heard->steps.empty());
    EXPECT_TRUE(heard->committed.empty());
    EXPECT_EQ(heard->failures.size(), static_cast<std::size_t>(ranks()));
}

TEST_F(Jobs, AResumeWithOtherKernelsIsNotCalledExact) {
    const auto all = run({.job = job({"train.kernels=aten"})});
    const std::string saved = shared(all ? all->committed[1] : "");
    const auto other = run({.job = job({"train.kernels=native"}, saved)});
    ASSERT_EQ(failure_, "");
    if (!other) return;
    EXPECT_EQ(other->loads[0].exactness, "sample-exact: kernels was ATen kernels on the CPU, test, is test");
}

TEST_F(Jobs, AFailedSaveStopsNothingButTheLastOne) {
    const auto heard = run({.job = job(), .refuse_saves_from_step = 5});
    EXPECT_TRUE(failure_.starts_with("IoError: step 12 is the last one and its checkpoint could not be written"))
        << failure_;
    if (!heard) return;
    EXPECT_EQ(heard->steps.size(), 12U);
    EXPECT_EQ(saved_or_skipped(*heard), (std::vector<std::uint64_t>{0, 5, 10, 12}));
    EXPECT_EQ(heard->committed.size(), 1U);
    EXPECT_EQ(heard->failures.at(0).exit_code, kExitIo);
}

TEST_F(Jobs, AStopWhoseSaveFailsIsNotCalledSaved) {
    const auto heard = run({.job = job({"train.steps=400"}), .stop_after_step = 5, .refuse_saves_from_step = 5});
    EXPECT_NE(failure_.find("the last one before the requested stop and its checkpoint could not be written"),
              std::string::npos)
        << failure_;
    if (!heard) return;
    EXPECT_LT(heard->steps.size(), 400U);
    EXPECT_TRUE(heard->finished.empty());
    EXPECT_EQ(heard->failures.at(0).exit_code, kExitIo);
}

TEST_F(Jobs, ACheckpointOfAnotherSeedIsAConfigurationError) {
    const auto first = run({.job = job()});
    const std::string saved = shared(first ? first->committed[1] : "");
    const auto second = run({.job = job({"run.seed=99"}, saved)});
    EXPECT_TRUE(failure_.starts_with("ConfigError: ")) << failure_;
    EXPECT_NE(failure_.find("seed"), std::string::npos) << failure_;
    if (second) {
        EXPECT_TRUE(second->steps.empty());
    }
}

TEST_F(Jobs, ACorpusThatChangedIsRefused) {
    Job changed = job();
    changed.manifest_digest = std::string(64, '0');
    const auto heard = run({.job = changed});
    EXPECT_TRUE(failure_.starts_with("DataError: corpus '")) << failure_;
    EXPECT_NE(failure_.find(std::string(64, '0')), std::string::npos);
    if (heard) {
        EXPECT_EQ(heard->failures.at(0).exit_code, kExitData);
    }
}

TEST_F(Jobs, WorkersWithDifferentJobsStopBeforeTheFirstStep) {
    Script script{.job = job()};
    script.change_for_rank = [](Job& own, int rank) { own.options["rank"] = rank; };
    const auto heard = run(script);
    if (ranks() == 1) {
        EXPECT_EQ(failure_, "");
    } else {
        EXPECT_TRUE(failure_.starts_with("InternalError: the coordinator gave workers different jobs: digest "))
            << failure_;
        if (heard) {
            EXPECT_TRUE(heard->steps.empty());
        }
    }
}

TEST_F(Jobs, PreparationTasksAreDoneByTheWorkers) {
    std::unique_ptr<data::Preparation> preparation;
    const coordinator::RunFile file =
        run_file({"data.sources.0.path=parts", "data.unit_bytes=8000", "data.shard_tokens=16384"});
    const fs::path corpora = directory_ / "prepared";
    fs::create_directories(directory_ / "parts");
    for (std::size_t part = 0; part < 5 && me() == 0; ++part) {
        std::ofstream(directory_ / "parts" / fmt::format("{}.txt", part)) << small_text().substr(part * 8000, 8000);
    }
    if (me() == 0) preparation = std::make_unique<data::Preparation>(file.data, directory_, corpora);
    Job asked;
    asked.mode = "prepare";
    asked.run_file = coordinator::to_toml(file);
    const auto heard = run({.job = asked, .preparation = preparation.get()});
    ASSERT_EQ(failure_, "");
    if (!heard) return;
    EXPECT_TRUE(preparation->finished());
    EXPECT_EQ(heard->tasks_by_kind.at("tokenize"), 5) << "a file fills a unit";
    const auto here = data::prepare_here(file.data, directory_, directory_ / "here");
    EXPECT_EQ(data::Manifest::load(preparation->manifest_file()).digest(), here.digest());
}

TEST_F(Jobs, GeneratedTextDependsOnSeedAndPromptAlone) {
    const std::vector<std::string> overrides = {"train.steps=40", "train.optimizer.learning_rate=1e-2"};
    const auto trained = run({.job = job(overrides)});
    const std::string saved = shared(trained ? trained->committed.back() : "");
    Job asked = job(overrides, saved);
    asked.mode = "generate";
    asked.options = {{"prompt", "the cat "}, {"max_tokens", 40}, {"temperature", 0.5}, {"seed", 5}};
    const auto once = run({.job = asked});
    const auto again = run({.job = asked});
    asked.options["seed"] = 6;
    const auto other = run({.job = asked});
    ASSERT_EQ(failure_, "");
    if (!once) return;
    const std::string text = once->finished.at(0).output;
    EXPECT_EQ(again->finished.at(0).output, text);
    EXPECT_NE(other->finished.at(0).output, text);
    EXPECT_LE(text.size(), 40U);
    const auto known = std::count_if(text.begin(), text.end(), [](char letter) {
        return std::islower(static_cast<unsigned char>(letter)) != 0 || letter == ' ';
    });
    EXPECT_GE(known, 30) << "what was learned is letters: " << text;
}

TEST_F(Jobs, GenerationRefusesOptionsOutOfRange) {
    Job asked = job();
    asked.mode = "generate";
    asked.options = {{"temperature", -1.0}};
    Group mine = test_world().split(me(), 0, "one of them");
    if (me() == 0) {
        run({.job = asked}, mine);
        EXPECT_EQ(failure_, "ConfigError: temperature: expected a number of at least 0, found -1");
    }
}

}  // namespace
}  // namespace kiban::worker
