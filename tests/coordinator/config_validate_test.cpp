// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/config/run_file.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

// The refusal of the smallest run file with these overrides, without the file's name in front.
std::string refusal(const std::vector<std::string>& overrides) {
    try {
        parse_run_file("[[data.sources]]\npath = 'a.txt'\n[launch]\nthreads_per_worker = 1\n", "/base", "run.toml",
                       overrides);
    } catch (const ConfigError& error) {
        const std::string message = error.what();
        const std::string front = "'run.toml': ";
        return message.starts_with(front) ? message.substr(front.size()) : message;
    }
    return "nothing was refused";
}

TEST(Validate, BoundsOfTheAutomaticIntervalMustBeInOrder) {
    EXPECT_EQ(refusal({"checkpoint.min_interval_steps=20", "checkpoint.max_interval_steps=10"}),
              "checkpoint.min_interval_steps = 20 is above checkpoint.max_interval_steps = 10");
}

TEST(Validate, AnIntervalIsANumberOfStepsOrTheWordAuto) {
    EXPECT_EQ(refusal({"checkpoint.interval_steps=auto"}), "nothing was refused");
    EXPECT_EQ(refusal({"checkpoint.interval_steps=0"}), "nothing was refused");
    for (const char* bad : {"-1", "often", "2.5"}) {
        EXPECT_NE(refusal({fmt::format("checkpoint.interval_steps={}", bad)})
                      .find("checkpoint.interval_steps: expected an integer of at least 0, or 'auto', found "),
                  std::string::npos)
            << bad;
    }
}

TEST(Validate, HeadsMustDivideTheWidth) {
    EXPECT_EQ(refusal({"model.d_model=128", "model.heads=6"}),
              "model.heads = 6 does not divide model.d_model = 128: expected a divisor, such as 4");
}

TEST(Validate, KeyValueHeadsMustDivideHeads) {
    EXPECT_EQ(refusal({"model.layout=llama", "model.heads=4", "model.kv_heads=3"}),
              "model.kv_heads = 3 does not divide model.heads = 4");
}

TEST(Validate, RotaryPositionsNeedPairsOfChannels) {
    EXPECT_EQ(refusal({"model.layout=llama", "model.d_model=60", "model.heads=4"}),
              "model.d_model / model.heads = 60 / 4 = 15 is odd: rotary positions turn pairs of channels");
}

TEST(Validate, KeysOfTheOtherLayoutAreRefused) {
    EXPECT_EQ(refusal({"model.kv_heads=2"}),
              "model.kv_heads = 2 with model.layout = 'gpt2', which has as many as model.heads = 4: leave it out, or "
              "use 'llama'");
    EXPECT_EQ(refusal({"model.rope_theta=5e5"}),
              "model.rope_theta = 500000 with model.layout = 'gpt2', which has learned positions: leave it out, or use "
              "'llama'");
}

TEST(Validate, AVocabularySmallerThanTheTokenizersIsRefused) {
    EXPECT_EQ(refusal({"model.vocabulary=256"}),
              "model.vocabulary = 256 is smaller than the 257 tokens of data.tokenizer = 'bytes'");
    EXPECT_EQ(refusal({"model.vocabulary=320"}), "nothing was refused");
    EXPECT_EQ(refusal({"data.tokenizer=bpe:8192", "model.vocabulary=8191"}),
              "model.vocabulary = 8191 is smaller than the 8192 tokens of data.tokenizer = 'bpe:8192'");
    EXPECT_EQ(refusal({"data.tokenizer=bpe:8192", "model.vocabulary=8192"}), "nothing was refused");
}

TEST(Validate, ABatchThatDoesNotDivideNamesTheNearestThatWould) {
    EXPECT_EQ(
        refusal({"train.batch_rows=10", "launch.workers=4"}),
        "train.batch_rows = 10 rows cannot be shared evenly by 4 data-parallel workers; the nearest that can: 8 or 12");
    EXPECT_EQ(refusal({"train.batch_rows=3", "launch.workers=4"}),
              "train.batch_rows = 3 rows cannot be shared evenly by 4 data-parallel workers; the nearest that can: 4");
    EXPECT_EQ(refusal({"train.batch_rows=12", "train.micro_batch_rows=5"}),
              "train.micro_batch_rows = 5 does not divide train.batch_rows = 12; the nearest batch_rows that would do: "
              "10 or 15");
    EXPECT_EQ(refusal({"train.batch_rows=36", "train.micro_batch_rows=6", "launch.workers=4"}),
              "train.batch_rows = 36 is 6 micro-batches of train.micro_batch_rows = 6, which 4 data-parallel workers "
              "cannot share evenly; "
              "the nearest batch_rows that would do: 24 or 48");
    EXPECT_EQ(refusal({"train.batch_rows=12", "train.micro_batch_rows=6", "launch.workers=2"}), "nothing was refused");
}

TEST(Validate, WhatIsNotThereYetIsRefusedByName) {
    EXPECT_EQ(refusal({"parallel.context=2"}), "parallel.context = 2 is not available yet: expected 1");
    EXPECT_NE(refusal({"data.tokenizer=byte"}).find("'bytes'"), std::string::npos);
}

TEST(Validate, TwoPrecisionsAreKnownAndOthersRefusedWithTheirNames) {
    EXPECT_EQ(refusal({"train.precision=bf16"}), "nothing was refused");
    EXPECT_EQ(refusal({"train.precision=fp32"}), "nothing was refused");
    EXPECT_NE(refusal({"train.precision=fp16"})
                  .find("train.precision: expected one of 'fp32', 'bf16', found the string \"fp16\""),
              std::string::npos);
}

TEST(Validate, AxesThatDoNotDivideAreRefusedWithTheNumbers) {
    EXPECT_EQ(refusal({"parallel.tensor=3", "launch.workers=3"}),
              "parallel.tensor = 3 does not divide model.heads = 4");
    EXPECT_EQ(refusal({"model.layout=llama", "model.kv_heads=2", "parallel.tensor=4", "launch.workers=4"}),
              "parallel.tensor = 4 does not divide model.kv_heads = 2");
    EXPECT_EQ(refusal({"model.d_hidden=129", "parallel.tensor=2", "launch.workers=2"}),
              "parallel.tensor = 2 does not divide model.d_hidden = 129");
    EXPECT_EQ(refusal({"parallel.pipeline=5", "launch.workers=5"}),
              "parallel.pipeline = 5 stages cannot share model.layers = 4: expected at most one stage a layer");
    EXPECT_EQ(refusal({"parallel.tensor=2", "parallel.pipeline=2", "launch.workers=6"}),
              "cannot arrange 6 workers: expected a multiple of 4 (pipeline 2 x context 1 x tensor 2)");
    EXPECT_EQ(refusal({"parallel.tensor=4", "launch.workers=4", "data.sequence_length=9", "train.batch_rows=3",
                       "train.micro_batch_rows=3"}),
              "train.micro_batch_rows = 3 rows of data.sequence_length = 9 tokens cannot be shared evenly by "
              "parallel.tensor = 4");
    EXPECT_EQ(refusal({"parallel.tensor=2", "parallel.pipeline=2", "launch.workers=4"}), "nothing was refused");
    EXPECT_EQ(
        refusal({"parallel.replicate=3", "parallel.tensor=2", "launch.workers=8"}),
        "parallel.replicate = 3 does not divide the 4 data-parallel workers (8 workers / pipeline 1 / context 1 / "
        "tensor 2)");
    EXPECT_EQ(refusal({"parallel.replicate=2", "launch.workers=4"}), "nothing was refused");
}

TEST(Validate, FixedReductionNeedsAPowerOfTwoAndSumsByTheStep) {
    EXPECT_EQ(refusal({"train.reduction=fixed", "launch.workers=3", "train.batch_rows=12", "train.micro_batch_rows=2"}),
              "train.reduction = 'fixed' with 3 data-parallel workers: expected a power of two, whose blocks of "
              "micro-batches are branches of one tree");
    EXPECT_EQ(
        refusal({"train.reduction=fixed", "train.micro_batch_rows=1", "parallel.zero=2"}),
        "train.reduction = 'fixed' with parallel.zero = 2, which sums gradients after each micro-batch: expected 0 "
        "or 1");
    EXPECT_EQ(refusal({"train.reduction=fixed", "train.micro_batch_rows=1", "launch.workers=4"}),
              "nothing was refused");
    EXPECT_TRUE(
        refusal({"train.reduction=fixed"}).starts_with("train.reduction = 'fixed' without train.micro_batch_rows"));
}

TEST(Validate, NativeKernelsAreForTheCpu) {
    EXPECT_EQ(refusal({"train.device=cuda", "train.kernels=native"}),
              "train.kernels = 'native' with train.device = 'cuda': native kernels run on the CPU; expected 'auto' or "
              "'aten'");
    EXPECT_EQ(refusal({"train.device=cuda"}), "nothing was refused");  // the worker knows what it finds
    EXPECT_EQ(refusal({"train.kernels=aten"}), "nothing was refused");
}

TEST(Validate, Bf16IsForNativeKernels) {
    EXPECT_EQ(
        refusal({"train.precision=bf16", "train.kernels=aten"}),
        "train.precision: expected 'fp32' with train.kernels = 'aten', whose kernels have no other, found 'bf16'; "
        "or set train.device = 'cpu' and train.kernels = 'auto'");
    EXPECT_EQ(refusal({"train.precision=bf16", "train.device=cuda"}),
              "train.precision: expected 'fp32' with train.device = 'cuda', whose kernels have no other, found 'bf16'; "
              "or set train.device = 'cpu' and train.kernels = 'auto'");
    EXPECT_EQ(refusal({"train.precision=bf16", "train.kernels=native"}), "nothing was refused");
}

TEST(Validate, MuonIsTakenAndItsMomentumIsForItAlone) {
    EXPECT_EQ(refusal({"train.optimizer.name=muon"}), "nothing was refused");
    EXPECT_EQ(refusal({"train.optimizer.name=muon", "train.optimizer.muon_momentum=0.9"}), "nothing was refused");
    EXPECT_EQ(refusal({"train.optimizer.muon_momentum=0.9"}),
              "train.optimizer.muon_momentum = 0.9 is for train.optimizer.name = 'muon' only: leave it out");
    EXPECT_EQ(refusal({"train.optimizer.muon_momentum=0.95"}), "nothing was refused");
}

TEST(Validate, TheDecayBelongsToWsdAndMustFit) {
    EXPECT_EQ(refusal({"train.schedule.decay_steps=5"}),
              "train.schedule.decay_steps = 5 is for train.schedule.name = 'wsd' only: leave it out");
    EXPECT_EQ(refusal({"train.schedule.decay=sqrt"}),
              "train.schedule.decay is for train.schedule.name = 'wsd' only: leave it out");
    EXPECT_EQ(
        refusal({"train.schedule.name=wsd", "train.steps=200", "train.schedule.decay_steps=101"}),
        "train.schedule.warmup_steps = 100 and train.schedule.decay_steps = 101 do not fit into train.steps = 200");
    EXPECT_EQ(refusal({"train.schedule.name=wsd", "train.steps=200", "train.schedule.decay_steps=100"}),
              "nothing was refused");
}

TEST(Validate, AWarmUpLongerThanTheRunIsRefused) {
    EXPECT_EQ(refusal({"train.steps=99"}),
              "train.schedule.warmup_steps = 100 is longer than train.steps = 99: lower it, or raise train.steps");
    EXPECT_EQ(refusal({"train.steps=99", "train.schedule.name=constant"}),
              "train.schedule.warmup_steps = 100 is longer than train.steps = 99: lower it, or raise train.steps");
    EXPECT_EQ(refusal({"train.steps=100"}), "nothing was refused");
    EXPECT_EQ(refusal({"train.steps=99", "train.schedule.warmup_steps=99"}), "nothing was refused");
}

TEST(Validate, AWarmUpThatRunsIntoTheDecayThatFollowsFromTheRunIsRefused) {
    EXPECT_EQ(refusal({"train.schedule.name=wsd", "train.steps=110"}),
              "train.schedule.warmup_steps = 100 and train.schedule.decay_steps = 0 (a tenth of the run: 11) do not "
              "fit into train.steps = 110");
    EXPECT_EQ(refusal({"train.schedule.name=wsd", "train.steps=112"}), "nothing was refused");
}

TEST(Validate, WhatTheEndpointCannotListenOnIsRefusedBeforeItIsMade) {
    for (const std::string bad :
         {"9464", "localhost", ":9464", "localhost:", "localhost:65536", "localhost:x", "[::1]:9464", "node-1:0"}) {
        EXPECT_EQ(refusal({"monitoring.listen='" + bad + "'"}).rfind("cannot serve metrics on '" + bad + "': ", 0), 0U)
            << bad;
    }
    for (const std::string good : {"", "0.0.0.0:0", "127.0.0.1:65535", "localhost:9464"}) {
        EXPECT_EQ(refusal({"monitoring.listen='" + good + "'"}), "nothing was refused") << good;
    }
}

TEST(Validate, ARunNameIsAWord) {
    for (const std::string bad : {"", "a/b", ".hidden", "a b", "x\\u0007"}) {
        EXPECT_NE(refusal({"run.name=\"" + bad + "\""}).find("expected 1 to 100 letters, digits"), std::string::npos)
            << bad;
    }
}

TEST(Validate, ARunWithoutSourcesIsRefused) {
    try {
        parse_run_file("", "/base", "run.toml");
        FAIL();
    } catch (const ConfigError& error) {
        EXPECT_NE(std::string(error.what()).find("data.sources"), std::string::npos) << error.what();
    }
}

TEST(Validate, MoreTokensThanCountersHoldAreRefused) {
    EXPECT_EQ(refusal({"train.steps=1000000000000", "train.batch_rows=16777216", "data.sequence_length=1024"}),
              "train.steps = 1000000000000 of train.batch_rows = 16777216 rows of data.sequence_length = 1024 are "
              "1.72e+22 tokens: expected "
              "at most 9e18");
}

TEST(Validate, AnEmptyControlInterfaceIsRefused) {
    EXPECT_EQ(refusal({"launch.control_interface="}),
              "launch.control_interface is empty, expected an address or an interface, such as '127.0.0.1' or 'eth0'");
}

}  // namespace
}  // namespace kiban::coordinator
