// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "coordinator/config/changes.h"
#include "coordinator/config/run_file.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

const std::string kSmallest = "[[data.sources]]\npath = 'a.txt'\n[launch]\nthreads_per_worker = 1\n";

RunFile parse(const std::string& toml, const std::vector<std::string>& overrides = {}) {
    return parse_run_file(toml, "/base", "run.toml", overrides);
}

// The message of the ConfigError that `toml` and `overrides` cause.
std::string refusal(const std::string& toml, const std::vector<std::string>& overrides = {}) {
    try {
        parse(toml, overrides);
    } catch (const ConfigError& error) {
        return error.what();
    }
    return "nothing was refused";
}

std::string refused_override(const std::string& text) { return refusal(kSmallest, {text}); }

TEST(RunFile, TheKeysOfTheDesignAreRead) {
    const RunFile file = parse(R"(
[run]
name = "char"
dir  = "runs/char"
seed = 7
[data]
tokenizer = "bytes"
sequence_length = 64
holdout = { fraction = 0.1, by = "document" }
[[data.sources]]
path = "../shared/x.txt"
weight = 1
[[data.sources]]
path = "y/*.jsonl.zst"
weight = 0.5
text_field = "body"
[model]
layout = "llama"
layers = 6
d_model = 96
heads = 6
kv_heads = 2
[train]
batch_rows = 12
micro_batch_rows = 3
steps = 2_000
clip_norm = 0.5
[train.optimizer]
learning_rate = 2e-3
betas = [0.9, 0.99]
[train.schedule]
name = "wsd"
decay_steps = 300
decay = "sqrt"
[checkpoint]
interval_steps = 100
[monitoring]
listen = "0.0.0.0:0"
[launch]
workers = 2
threads_per_worker = 3
)");
    EXPECT_EQ(file.run.name, "char");
    EXPECT_EQ(file.run.seed, 7U);
    EXPECT_EQ(file.run_dir(), fs::path("/base/runs/char"));
    EXPECT_EQ(file.corpora_dir(), fs::path("/base/runs/corpora"));
    EXPECT_EQ(file.data.sequence_length, 64U);
    EXPECT_EQ(file.data.holdout.by, data::HoldoutBy::document);
    ASSERT_EQ(file.data.sources.size(), 2U);
    EXPECT_EQ(file.data.sources[0].weight, 1.0);
    EXPECT_EQ(file.data.sources[1].path, "y/*.jsonl.zst");
    EXPECT_EQ(file.data.sources[1].text_field, "body");
    EXPECT_EQ(file.model.layout, ModelLayout::llama);
    EXPECT_EQ(file.model.kv_heads, 2);
    EXPECT_EQ(file.train.micro_batch_rows, 3U);
    EXPECT_EQ(file.train.optimizer.betas, (std::array<double, 2>{0.9, 0.99}));
    EXPECT_EQ(file.train.schedule.name, ScheduleName::wsd);
    EXPECT_EQ(file.train.schedule.decay, DecayShape::sqrt);
    EXPECT_EQ(file.checkpoint.interval_steps, (checkpoint::StepInterval{.steps = 100, .automatic = false}));
    EXPECT_EQ(file.monitoring.listen, "0.0.0.0:0");
    EXPECT_EQ(file.launch.threads_per_worker, 3);
}

TEST(RunFile, ZerosThatMeanDeriveAreFilledIn) {
    const RunFile file = parse("[[data.sources]]\npath = 'a'\n[model]\nd_model = 96\n[launch]\nworkers = 2\n");
    EXPECT_EQ(file.train.micro_batch_rows, 16U);  // 32 rows, 2 workers
    EXPECT_EQ(file.train.eval_micro_batch_rows, 16U);
    EXPECT_EQ(file.model.d_hidden, 384);
    EXPECT_EQ(file.model.kv_heads, 4);
    EXPECT_GE(file.launch.threads_per_worker, 1);
    EXPECT_EQ(file.run_dir(), fs::path("/base/runs/run"));
}

// A run whose warm-up was longer than it, as older versions took it, goes on once train.steps is raised.
TEST(RunFile, ASavedFileIsReadByTheRulesOfItsTime) {
    std::string text = to_toml(parse(kSmallest, {"train.steps=200", "train.schedule.warmup_steps=100"}));
    const std::string steps = "\nsteps = 200\n";
    ASSERT_NE(text.find(steps), std::string::npos);
    text.replace(text.find(steps), steps.size(), "\nsteps = 50\n");
    EXPECT_THROW(parse_run_file(text, "/base", "now"), ConfigError);
    const RunFile saved = parse_saved_run_file(text, "/base", "saved");
    EXPECT_EQ(saved.train.steps, 50U);
    const RunFile now = parse(kSmallest, {"train.steps=200", "train.schedule.warmup_steps=100"});
    EXPECT_TRUE(forbidden_changes(saved, now).empty());
    EXPECT_EQ(all_changes(saved, now), std::vector<std::string>{"train.steps: saved 50, now 200"});
    EXPECT_THROW(parse_saved_run_file(text + "[train.unknown]\nkey = 1\n", "/base", "saved"), ConfigError);
}

TEST(RunFile, TheResolvedFileReadsBackToTheSameBytes) {
    RunFile file =
        parse(kSmallest, {"run.name=q.1", "data.sources.1.path=b\"\\ \t\xC3\xA9.txt", "data.sources.1.weight=0.1",
                          "train.optimizer.learning_rate=0.00012345678901234567", "model.layout=llama",
                          "train.optimizer.epsilon=1e-300", "train.clip_norm=1e22", "run.seed=9223372036854775807"});
    const std::string text = to_toml(file);
    const RunFile again = parse_run_file(text, "/elsewhere", "resolved");
    EXPECT_EQ(to_toml(again), text);
    EXPECT_EQ(again.base, fs::path("/base"));
    EXPECT_EQ(again.data.sources[1].path, "b\"\\ \t\xC3\xA9.txt");
    EXPECT_EQ(again.train.optimizer.learning_rate, 0.00012345678901234567);
    EXPECT_EQ(again.train.optimizer.epsilon, 1e-300);
    EXPECT_EQ(again.run.seed, 9223372036854775807U);
    EXPECT_TRUE(all_changes(file, again).empty());
}

TEST(RunFile, OverridesTakeTomlValuesAndBareWords) {
    const RunFile file =
        parse(kSmallest, {"train.steps=200", "model.layout=llama", "run.name=2026-01-01", "run.dir=/x y",
                          "train.optimizer.betas=[0.8, 0.9]", "data.holdout={fraction=0, by='tail'}",
                          "data.sources.0.weight=3", "data.sources.0.path=\"q.txt\"", "monitoring.listen="});
    EXPECT_EQ(file.train.steps, 200U);
    EXPECT_EQ(file.model.layout, ModelLayout::llama);
    EXPECT_EQ(file.run.name, "2026-01-01");
    EXPECT_EQ(file.run_dir(), fs::path("/x y"));
    EXPECT_EQ(file.train.optimizer.betas, (std::array<double, 2>{0.8, 0.9}));
    EXPECT_EQ(file.data.holdout.fraction, 0.0);
    EXPECT_EQ(file.data.sources[0].weight, 3.0);
    EXPECT_EQ(file.data.sources[0].path, "q.txt");
    EXPECT_EQ(file.monitoring.listen, "");
}

TEST(RunFile, AnOverrideCanReplaceAllSourcesOrAddOne) {
    EXPECT_EQ(parse(kSmallest, {"data.sources=[{path='x'}, {path='y'}]"}).data.sources[1].path, "y");
    EXPECT_EQ(parse("", {"data.sources.0.path=x"}).data.sources[0].path, "x");
    EXPECT_EQ(refused_override("data.sources.2.path=x"),
              "--set 'data.sources.2.path=x': data.sources.2.path: there are 1 sources, numbered from 0; expected at "
              "most 1, which adds one");
}

TEST(RunFile, AnOverrideThatIsNoAssignmentIsAUsageError) {
    EXPECT_THROW(parse(kSmallest, {"train.steps"}), UsageError);
    EXPECT_THROW(parse(kSmallest, {"=3"}), UsageError);
    EXPECT_EQ(refused_override("run.name=\xFF"), "--set 'run.name=\xFF': the value is not UTF-8 text");
    EXPECT_EQ(refused_override("train.steps=2\ntrain.steps=3"),
              "--set 'train.steps=2\ntrain.steps=3': train.steps: expected an integer of at least 1, found "
              "the string \"2\\u000Atrain.steps=3\"");
}

TEST(RunFile, AKeyThatIsOverriddenTwiceIsAUsageErrorWithBothValues) {
    try {
        parse(kSmallest, {"train.steps=200", "run.seed=1", "train.steps=300"});
        FAIL() << "one of them was taken";
    } catch (const UsageError& error) {
        EXPECT_STREQ(error.what(),
                     "the command line sets train.steps twice: to '200' and to '300'; leave one of them out");
    }
    EXPECT_THROW(parse(kSmallest, {"train.steps=200", "train.steps=200"}), UsageError);
}

TEST(RunFile, AnUnknownKeyIsRefusedWithLineAndTheNearestOne) {
    EXPECT_EQ(refusal("[train]\nsteps = 3\nstep = 4\n"),
              "'run.toml' line 3: unknown key 'train.step'; did you mean 'train.steps'?");
    EXPECT_EQ(refusal("[train]\nlearning_rate = 0.1\n"),
              "'run.toml' line 2: unknown key 'train.learning_rate'; did you mean 'train.optimizer.learning_rate'?");
    EXPECT_EQ(refusal("[data]\nseq_len = 4\n"),
              "'run.toml' line 2: unknown key 'data.seq_len'; did you mean 'data.sequence_length'?");
    EXPECT_EQ(refusal("[trian]\nsteps = 4\n"), "'run.toml' line 1: unknown key 'trian'; did you mean 'train'?");
    EXPECT_EQ(refusal("[[data.sources]]\npaht = 'x'\n"),
              "'run.toml' line 2: unknown key 'data.sources.0.paht'; did you mean 'data.sources.path'?");
    EXPECT_EQ(refused_override("modle.layers=3"),
              "--set 'modle.layers=3': unknown key 'modle.layers'; did you mean 'model.layers'?");
}

TEST(RunFile, ARepeatedKeyIsRefused) {
    const std::string message = refusal("[train]\nsteps = 3\nsteps = 4\n");
    EXPECT_NE(message.find("'run.toml' line 3: "), std::string::npos) << message;
    EXPECT_NE(message.find("steps"), std::string::npos) << message;
}

TEST(RunFile, BrokenTomlIsRefusedWithItsLine) {
    EXPECT_EQ(refusal("[train]\n\nsteps = \n").rfind("'run.toml' line 3: ", 0), 0U) << refusal("[train]\n\nsteps = \n");
}

TEST(RunFile, AWrongTypeSaysWhatWasExpectedAndFound) {
    EXPECT_EQ(refusal("[model]\nlayers = 2.5\n"),
              "'run.toml' line 2: model.layers: expected an integer of at least 1 and at most 16384, found 2.5");
    EXPECT_EQ(
        refusal("[model]\nlayers = '4'\n"),
        "'run.toml' line 2: model.layers: expected an integer of at least 1 and at most 16384, found the string \"4\"");
    EXPECT_EQ(refusal("[model]\nlayout = true\n"),
              "'run.toml' line 2: model.layout: expected one of 'gpt2', 'llama', found true");
    EXPECT_EQ(refusal("[run]\nname = 5\n"), "'run.toml' line 2: run.name: expected a string, found 5");
    EXPECT_EQ(refusal("[run]\nname = \"a\\u0000\"\n"),
              "'run.toml' line 2: run.name: expected a string, found the string \"a\\u0000\"");
    EXPECT_EQ(refusal("run = 5\n"), "'run.toml' line 1: run is a section, found 5");
    EXPECT_EQ(refusal("[data]\nsources = 'x'\n"),
              "'run.toml' line 2: data.sources: expected [[data.sources]] tables, found the string \"x\"");
    EXPECT_EQ(refusal("[data]\nsources = ['x']\n"),
              "'run.toml' line 2: data.sources.0: expected a table, found the string \"x\"");
    EXPECT_EQ(refusal("[train.optimizer]\nbetas = [0.9]\n"),
              "'run.toml' line 2: train.optimizer.betas: expected two numbers of at least 0 and below 1, found an "
              "array of 1");
    EXPECT_EQ(refusal("[run]\nseed = 2026-01-01\n"),
              "'run.toml' line 2: run.seed: expected an integer of at least 0, found a date or time");
}

TEST(RunFile, AValueOutOfRangeIsRefused) {
    EXPECT_EQ(refused_override("train.steps=0"),
              "--set 'train.steps=0': train.steps: expected an integer of at least 1, found 0");
    EXPECT_EQ(
        refused_override("launch.workers=-1"),
        "--set 'launch.workers=-1': launch.workers: expected an integer of at least 1 and at most 1048576, found -1");
    EXPECT_EQ(
        refused_override("data.holdout.fraction=1"),
        "--set 'data.holdout.fraction=1': data.holdout.fraction: expected a number of at least 0 and below 1, found 1");
    EXPECT_EQ(refused_override("train.optimizer.learning_rate=inf"),
              "--set 'train.optimizer.learning_rate=inf': train.optimizer.learning_rate: expected a number above 0, "
              "found inf");
    EXPECT_EQ(refused_override("train.z_loss=-1e-4"),
              "--set 'train.z_loss=-1e-4': train.z_loss: expected a number of at least 0, found -0.0001");
    EXPECT_EQ(refused_override("data.sources.0.weight=0"),
              "--set 'data.sources.0.weight=0': data.sources.0.weight: expected a number above 0, found 0");
    EXPECT_EQ(refused_override("data.sequence_length=1"),
              "--set 'data.sequence_length=1': data.sequence_length: expected an integer of at least 2 and at most "
              "1048576, found 1");
    EXPECT_EQ(refused_override("parallel.zero=4"),
              "--set 'parallel.zero=4': parallel.zero: expected an integer of at least 0 and at most 3, found 4");
    EXPECT_EQ(refused_override("launch.max_restarts=99999999999"),
              "--set 'launch.max_restarts=99999999999': launch.max_restarts: expected an integer of at least 0 and at "
              "most 1000000, found "
              "99999999999");
}

TEST(RunFile, AMistypedWordIsAnsweredWithTheNearest) {
    EXPECT_EQ(refused_override("train.schedule.name=cosin"),
              "--set 'train.schedule.name=cosin': train.schedule.name: expected one of 'cosine', 'wsd', 'linear', "
              "'constant', found the "
              "string \"cosin\"; did you mean 'cosine'?");
    EXPECT_EQ(refused_override("model.layout=lama"),
              "--set 'model.layout=lama': model.layout: expected one of 'gpt2', 'llama', found the string \"lama\"; "
              "did you mean 'llama'?");
    EXPECT_EQ(refused_override("train.optimizer.name=adam"),
              "--set 'train.optimizer.name=adam': train.optimizer.name: expected one of 'adamw', 'muon', found the "
              "string \"adam\"; did you mean 'adamw'?");
}

TEST(RunFile, AMissingRunFileIsNamed) {
    try {
        read_run_file("/nowhere/run.toml", {});
        FAIL();
    } catch (const ConfigError& error) {
        EXPECT_STREQ(error.what(), "cannot read run file '/nowhere/run.toml': there is no such file");
    }
    EXPECT_THROW(read_run_file("/tmp", {}), ConfigError);
}

TEST(RunFile, RelativePathsStartAtTheRunFile) {
    const fs::path directory = fs::temp_directory_path() / ("kiban-run-file-" + std::to_string(::getpid()));
    fs::create_directories(directory / "sub");
    std::ofstream(directory / "sub" / "r.toml") << kSmallest << "[data]\ncorpora_dir = '../c'\n";
    const RunFile file = read_run_file(directory / "sub" / ".." / "sub" / "r.toml", {"run.dir=here"});
    EXPECT_EQ(file.base, directory / "sub");
    EXPECT_EQ(file.run_dir(), directory / "sub" / "here");
    EXPECT_EQ(file.corpora_dir(), directory / "c");
    fs::remove_all(directory);
}

TEST(RunFile, AChangeOfAFixedKeyIsNamedAndAResumableOneOnlyJournaled) {
    const RunFile saved = parse(kSmallest);
    const RunFile now =
        parse(kSmallest, {"run.seed=2", "train.steps=5000", "data.sources.0.weight=2", "launch.max_restarts=1"});
    EXPECT_EQ(forbidden_changes(saved, now), std::vector<std::string>{"run.seed: saved 1337, now 2"});
    EXPECT_EQ(all_changes(saved, now),
              (std::vector<std::string>{"run.seed: saved 1337, now 2", "train.steps: saved 1000, now 5000",
                                        "launch.max_restarts: saved 10, now 1",
                                        "data.sources.0.weight: saved 1.0, now 2.0"}));
    EXPECT_TRUE(forbidden_changes(saved, saved).empty());
}

TEST(RunFile, FewerSourcesAreAForbiddenChangeAndMoreOrOtherWeightsAreNot) {
    const RunFile saved = parse(kSmallest);
    const RunFile now = parse(kSmallest, {"data.sources.1.path=b", "data.sources.0.weight=3"});
    EXPECT_EQ(forbidden_changes(saved, now), std::vector<std::string>{});
    EXPECT_EQ(all_changes(saved, now), (std::vector<std::string>{"data.sources: saved 1 of them, now 2",
                                                                 "data.sources.0.weight: saved 1.0, now 3.0"}));
    EXPECT_EQ(forbidden_changes(now, saved), std::vector<std::string>{"data.sources: saved 2 of them, now 1"});
}

TEST(RunFile, RopeThetaOfImportedWeightsIsFixedAndThatOfAForkIsNot) {
    const RunFile saved = parse(kSmallest, {"model.layout=llama"});
    const RunFile now = parse(kSmallest, {"model.layout=llama", "model.rope_theta=5e5", "run.seed=2"});
    EXPECT_EQ(changes_of_import(saved, now), std::vector<std::string>{"model.rope_theta: saved 10000.0, now 500000.0"});
    EXPECT_EQ(changes_of_tensors(saved, now), std::vector<std::string>{});
    const RunFile deeper = parse(kSmallest, {"model.layout=llama", "model.layers=7"});
    EXPECT_EQ(changes_of_import(saved, deeper).size(), 1U);
    EXPECT_EQ(changes_of_tensors(saved, deeper), changes_of_import(saved, deeper));
}

TEST(RunFile, WhatATokenAttendsToIsFixedInARunAndNotPartOfItsTensors) {
    const RunFile saved = parse(kSmallest);
    const RunFile now = parse(kSmallest, {"model.attention=document"});
    EXPECT_EQ(forbidden_changes(saved, now),
              std::vector<std::string>{"model.attention: saved \"row\", now \"document\""});
    EXPECT_EQ(changes_of_import(saved, now), std::vector<std::string>{});
    EXPECT_EQ(changes_of_tensors(saved, now), std::vector<std::string>{});
    EXPECT_FALSE(changes_rows(saved, now));
}

TEST(Changes, AnotherSeedOrTextOrLengthMovesRowsAndAForgottenDocumentOrPlaceDoesNot) {
    const RunFile saved = parse(kSmallest);
    for (const char* moves : {"run.seed=4", "data.sequence_length=64", "data.packing=best-fit"})
        EXPECT_TRUE(changes_rows(saved, parse(kSmallest, {moves}))) << moves;
    for (const char* stays : {"data.forget=gone.txt", "data.corpora_dir=elsewhere", "checkpoint.keep=9"})
        EXPECT_FALSE(changes_rows(saved, parse(kSmallest, {stays}))) << stays;
}

TEST(LiveKeys, ChangeTogetherOrNotAtAll) {
    RunFile file = parse_run_file("[[data.sources]]\npath = 'x'\n", ".", "test");
    const auto changes = change_live(file, {"checkpoint.keep=5", "launch.max_restarts=2"});
    ASSERT_EQ(changes.size(), 2U);
    EXPECT_EQ(changes[0].key + changes[0].from + changes[0].to, "checkpoint.keep35");
    EXPECT_EQ(file.checkpoint.keep, 5U);
    EXPECT_EQ(file.launch.max_restarts, 2U);
    EXPECT_THROW(change_live(file, {"checkpoint.keep=9", "checkpoint.max_failures=0"}), ConfigError);
    EXPECT_EQ(file.checkpoint.keep, 5U);
}

TEST(LiveKeys, OthersAreRefusedByNameAndSayWhatToDo) {
    RunFile file = parse_run_file("[[data.sources]]\npath = 'x'\n", ".", "test");
    const auto refusal = [&](const std::string& setting) {
        try {
            change_live(file, {setting});
        } catch (const Error& error) {
            return std::string(error.what());
        }
        return std::string("accepted");
    };
    const std::string layers = refusal("model.layers=8");
    EXPECT_NE(layers.find("model.layers does not change while a run runs; expected one of "), std::string::npos)
        << layers;
    EXPECT_NE(layers.find("checkpoint.keep"), std::string::npos) << layers;
    EXPECT_NE(layers.find("--set model.layers=8"), std::string::npos) << layers;
    EXPECT_NE(refusal("data.sources.0.path=y").find("does not change"), std::string::npos);
    EXPECT_NE(refusal("chekpoint.keep=8").find("did you mean 'checkpoint.keep'?"), std::string::npos);
    EXPECT_EQ(file.model.layers, 4);
}

}  // namespace
}  // namespace kiban::coordinator
