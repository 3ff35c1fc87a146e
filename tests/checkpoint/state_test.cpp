// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/state.h"

#include <gtest/gtest.h>

#include <cmath>

#include "monitoring/error.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint {
namespace {

RunState example() {
    RunState state;
    state.step = 12000;
    state.tokens = (1ULL << 63) + 1;
    state.position = 9007199254740993;  // 2^53 + 1: a double would lose it
    state.seed = UINT64_MAX;
    state.run_file = "[run]\nname = \"基盤\"\n";
    state.data_digest = "ab12";
    state.tokenizer = "bytes";
    state.sequence_length = UINT32_MAX;
    state.best_eval_loss = 0.1 + 0.2;
    state.workers = 8;
    state.threads_per_worker = 2;
    state.micro_batch_rows = 6;
    state.reduction = "fixed";
    state.kernels = "SkylakeX";
    state.torch_version = "1.13.0";
    state.kiban_version = "0.1.0";
    return state;
}

TEST(RunState, ComesBackFromTextToTheLastBit) {
    const nlohmann::json json = to_json(example());
    const RunState state = run_state_from_json(nlohmann::json::parse(json.dump()));
    EXPECT_EQ(to_json(state), json);
    EXPECT_EQ(state.tokens, (1ULL << 63) + 1);
    EXPECT_EQ(state.position, 9007199254740993U);
    EXPECT_EQ(state.seed, UINT64_MAX);
    EXPECT_EQ(state.run_file, "[run]\nname = \"基盤\"\n");
    EXPECT_EQ(state.sequence_length, UINT32_MAX);
    EXPECT_EQ(state.best_eval_loss, 0.1 + 0.2);
    EXPECT_EQ(state.reduction, "fixed");
    EXPECT_EQ(state.order_version, "feistel-1");
    EXPECT_EQ(state.randomness, "counter-1");
    EXPECT_EQ(json.size(), 24U);
}

TEST(RunState, EveryMissingFieldIsNamed) {
    const nlohmann::json json = to_json(example());
    for (const auto& item : json.items()) {
        nlohmann::json without = json;
        without.erase(item.key());
        if (item.key() == "layout" || item.key() == "precision" || item.key() == "tokenizer_sha256" ||
            item.key() == "anomalies" || item.key() == "sources" || item.key() == "mixture")
            continue;
        EXPECT_EQ(message_of<CheckpointError>([&] { run_state_from_json(without); }),
                  fmt::format("cannot read run state: field '{}' is missing", item.key()));
    }
}

TEST(RunState, Row27AnOlderCheckpointIsOfALayoutThatCutNothing) {
    nlohmann::json json = to_json(example());
    json.erase("layout");
    EXPECT_EQ(run_state_from_json(json).layout, "tensor 1, pipeline 1, context 1, gradients summed each step");
}

TEST(RunState, Row27AnOlderCheckpointWasTrainedInFp32) {
    nlohmann::json json = to_json(example());
    json.erase("precision");
    EXPECT_EQ(run_state_from_json(json).precision, "fp32");
}

TEST(RunState, EveryFieldOfAnotherTypeIsNamed) {
    const nlohmann::json json = to_json(example());
    for (const auto& item : json.items()) {
        for (const nlohmann::json& wrong :
             {nlohmann::json(nullptr), nlohmann::json::array({1}), nlohmann::json(true)}) {
            if (item.key() == "anomalies" && wrong.is_null()) continue;  // none yet
            nlohmann::json changed = json;
            changed[item.key()] = wrong;
            const std::string message = message_of<CheckpointError>([&] { run_state_from_json(changed); });
            EXPECT_NE(message.find(fmt::format("cannot read run state.{}: expected ", item.key())), std::string::npos)
                << message;
        }
    }
}

TEST(RunState, NumbersThatDoNotFitAreRefusedNotCut) {
    nlohmann::json json = to_json(example());
    json["workers"] = 1LL << 31;
    EXPECT_EQ(message_of<CheckpointError>([&] { run_state_from_json(json); }),
              "cannot read run state.workers: expected an integer from 0 to 2147483647, found 2147483648");
    json["workers"] = -1;
    EXPECT_EQ(message_of<CheckpointError>([&] { run_state_from_json(json); }),
              "cannot read run state.workers: expected an integer from 0 to 2147483647, found -1");
    json["workers"] = nlohmann::json::parse("1e400000", nullptr, false);
    EXPECT_FALSE(message_of<CheckpointError>([&] { run_state_from_json(json); }).empty());
    json["workers"] = nlohmann::json::parse("99999999999999999999999999");
    EXPECT_FALSE(message_of<CheckpointError>([&] { run_state_from_json(json); }).empty());
    json["workers"] = 2.0;
    EXPECT_FALSE(message_of<CheckpointError>([&] { run_state_from_json(json); }).empty());
    EXPECT_EQ(message_of<CheckpointError>([] { run_state_from_json(nlohmann::json::array()); }),
              "cannot read run state: expected an object, found an array of 0 members");
}

TEST(RunState, ALossThatIsNotFiniteIsNotStored) {
    RunState state = example();
    state.best_eval_loss = std::nan("");
    EXPECT_EQ(message_of<CheckpointError>([&] { to_json(state); }),
              "cannot store run state.best_eval_loss: expected a finite number, found nan");
}

TEST(Exactness, TheSameWorldIsExact) {
    RunState later = example();
    later.step = 1;
    later.tokens = 2;
    later.position = 3;
    later.best_eval_loss = 4;
    const auto result = compare_world(example(), later);
    EXPECT_EQ(result.level, Exactness::exact);
    EXPECT_EQ(result.reason, "");
}

TEST(Exactness, EveryDifferenceOfTheWorldIsNamed) {
    const auto reason = [](const std::function<void(RunState&)>& change) {
        RunState saved = example();
        saved.reduction = "fast";
        RunState now = saved;
        change(now);
        const auto result = compare_world(saved, now);
        EXPECT_EQ(result.level, Exactness::sample_exact);
        return result.reason;
    };
    EXPECT_EQ(reason([](RunState& now) { now.workers = 4; }), "workers was 8, is 4");
    EXPECT_EQ(reason([](RunState& now) { now.threads_per_worker = 1; }), "threads per worker was 2, is 1");
    EXPECT_EQ(reason([](RunState& now) { now.micro_batch_rows = 3; }), "micro-batch rows was 6, is 3");
    EXPECT_EQ(reason([](RunState& now) { now.reduction = "fixed"; }), "reduction was fast, is fixed");
    EXPECT_EQ(reason([](RunState& now) { now.precision = "bf16"; }), "precision was fp32, is bf16");
    EXPECT_EQ(reason([](RunState& now) { now.kernels = "Haswell"; }), "kernels was SkylakeX, is Haswell");
    EXPECT_EQ(reason([](RunState& now) { now.torch_version = "2.6.0"; }), "LibTorch was 1.13.0, is 2.6.0");
    EXPECT_EQ(reason([](RunState& now) { now.kiban_version = "0.2.0"; }), "Kiban was 0.1.0, is 0.2.0");
    EXPECT_EQ(reason([](RunState& now) {
                  now.workers = 4;
                  now.kernels = "Haswell";
              }),
              "workers was 8, is 4; kernels was SkylakeX, is Haswell");
}

TEST(Exactness, FixedReductionMakesTheNumberOfWorkersIrrelevant) {
    RunState now = example();
    now.workers = 2;
    EXPECT_EQ(compare_world(example(), now).level, Exactness::exact);
    now.threads_per_worker = 1;
    EXPECT_EQ(compare_world(example(), now).reason, "threads per worker was 2, is 1");
}

TEST(Resume, OnOtherDataOrAnotherOrderIsRefusedNamingTheField) {
    const auto resume = [](const std::function<void(RunState&)>& change) {
        RunState now = example();
        change(now);
        check_resumable(example(), now);
    };
    const auto refusal = [&](const std::function<void(RunState&)>& change) {
        return message_of<ConfigError>([&] { resume(change); });
    };
    EXPECT_NO_THROW(resume([](RunState&) {}));
    EXPECT_NO_THROW(resume([](RunState& now) { now.workers = 1; }));
    EXPECT_EQ(
        refusal([](RunState& now) { now.data_digest = "cd34"; }),
        "cannot resume: the checkpoint has corpus digest 'ab12', this run has 'cd34'; restore it, or start a new run");
    EXPECT_NE(refusal([](RunState& now) { now.seed = 1; }).find("run.seed"), std::string::npos);
    EXPECT_NE(refusal([](RunState& now) {
                  now.tokenizer = "bpe:8192";
              }).find("data.tokenizer 'bytes', this run has 'bpe:8192'"),
              std::string::npos);
    EXPECT_NE(refusal([](RunState& now) { now.sequence_length = 1; }).find("data.sequence_length"), std::string::npos);
    EXPECT_NE(refusal([](RunState& now) { now.order_version = "feistel-2"; }).find("order version"), std::string::npos);
    EXPECT_NE(refusal([](RunState& now) { now.randomness = "counter-2"; }).find("randomness version"),
              std::string::npos);
}

TEST(Resume, WithSourcesMoreIsAllowedWhenThoseThatWereReadAreTheFirstOnes) {
    RunState saved = example();
    saved.sources = {"a", "b"};
    saved.mixture = {{0, {1, 2}}};
    RunState now = saved;
    now.data_digest = "cd34";
    now.sources = {"a", "b", "c"};
    now.mixture = {{0, {1, 2}}, {saved.position, {1, 1, 1}}};
    EXPECT_NO_THROW(check_resumable(saved, now));
    now.sources = {"a", "x", "c"};
    EXPECT_NE(message_of<ConfigError>([&] { check_resumable(saved, now); }).find("corpus digest 'ab12'"),
              std::string::npos);
    now.sources = {"a"};
    EXPECT_NE(message_of<ConfigError>([&] { check_resumable(saved, now); }).find("corpus digest"), std::string::npos);
    saved.sources.clear();  // an older checkpoint
    now.sources = {"a", "b", "c"};
    EXPECT_NE(message_of<ConfigError>([&] { check_resumable(saved, now); }).find("corpus digest"), std::string::npos);
}

TEST(Resume, ThatWouldMixTheRowsAnewThatWereReadIsRefused) {
    RunState saved = example();
    saved.mixture = {{0, {1, 2}}, {400, {2, 1}}};
    RunState now = saved;
    now.mixture.push_back({saved.position, {5, 1}});
    EXPECT_NO_THROW(check_resumable(saved, now));
    now.mixture = {{0, {1, 2}}, {saved.position, {5, 1}}};
    EXPECT_NE(message_of<ConfigError>([&] { check_resumable(saved, now); }).find("came by the mixture"),
              std::string::npos);
}

TEST(RunState, AMixtureThatIsNoneIsDamage) {
    RunState state = example();
    state.sources = {"a"};
    state.mixture = {{0, {0.5, 0.25}}, {7, {1, 1}}};
    const nlohmann::json json = to_json(state);
    EXPECT_EQ(run_state_from_json(json).mixture, state.mixture);
    const std::vector<std::pair<std::string, nlohmann::json>> wrong = {
        {"mixture", nlohmann::json::array({{{"first", -1}}})},
        {"mixture", "none"},
        {"sources", nlohmann::json::array({1, 2})}};
    for (const auto& [field, value] : wrong) {
        nlohmann::json other = json;
        other[field] = value;
        EXPECT_NE(message_of<CheckpointError>([&] { run_state_from_json(other); }).find(field), std::string::npos);
    }
}

}  // namespace
}  // namespace kiban::checkpoint
