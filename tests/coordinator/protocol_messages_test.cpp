// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "coordinator/protocol/messages.h"
#include "monitoring/error.h"
#include "tests/support/message_of.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;

json through_text(const json& in) { return json::parse(in.dump()); }

TEST(Messages, EveryWorkerMessageComesBackAsItWasSent) {
    const std::vector<WorkerMessage> all = {
        Hello{1, 2, "node", 4711, "0.1.0", "1.13.1", "Open MPI 4.1.4", "1.10.8", "SkylakeX", 2},
        Heartbeat{"forward", 7, 99, 41, 1u << 30, 1u << 20, 12.5, 6, {{"forward", 1.5}, {"reduce", 0.25}}},
        StepReport{3,
                   300,
                   100,
                   2.5,
                   1e-3,
                   0.1,
                   true,
                   1.75,
                   0.5,
                   4096,
                   0.25,
                   {{"forward", 0.1}, {"data_wait", 0.01}},
                   {{"data", "all_gather", 7, 4096, 0.125}, {"tied", "all_reduce", 1, 64, 1e-6}},
                   true},
        StageRequest{5, std::numeric_limits<std::uint64_t>::max(), {{"step", 5}}, true},
        ShardWritten{5, "", {{"file", "shard-00000.h5"}}, 0.75},
        TaskRequest{},
        TaskDone{9, {{"tokens", 12}}},
        LoadResult{"/run/ckpt/step-1", "", "exact"},
        StepRefused{4, 96, 32, "loss_spike", "its loss", 9.5, std::numeric_limits<double>::infinity(), true},
        Health{5,
               {.groups = {{"attention", 12.5, 0.0125}, {"mlp", 20, 0.5}},
                .adam_second_moment_norm = 1e-7,
                .layers = {{0, 1.5, 9.0, 3.25, 0.125, 2.5, 7.0},
                           {63, std::numeric_limits<double>::infinity(), 9.0, 3.25, 0.125, 2.5, -1.0}},
                .output_logit_max = 11.0,
                .embedding_effective_rank = 47.5,
                .embedding_isotropy_ratio = std::nullopt,
                .embedding_uniformity = -3.5}},
        Stacks{"  thread 7 'main'\n    poll\n"},
        Failure{"DataError", "cannot read \xE2\x80\x9Cx\xE2\x80\x9D", 4, 65},
        TracedSteps{{{"phases", "forward", 7, 1'700'000'000'000'000'000, 250'000}}, 3},
        Finished{12, true, "once upon\n\ta time"},
    };
    ASSERT_EQ(all.size(), std::variant_size_v<WorkerMessage>);
    for (const WorkerMessage& message : all) {
        const json sent = through_text(to_json(message));
        const WorkerMessage back = worker_message_from_json(sent);
        EXPECT_EQ(back.index(), message.index());
        EXPECT_EQ(to_json(back), sent);
    }
}

TEST(Messages, EveryCoordinatorMessageComesBackAsItWasSent) {
    const std::vector<CoordinatorMessage> all = {
        Job{"train", "[run]\n", "/corpora/m.json", "abc", "/ckpt", {{"seed", 1}}},
        Task{true, nullptr},
        StageReply{4, "/run/ckpt/.staging/x", ""},
        SaveResult{4, true, ""},
        SaveInterval{120},
        SaveSoon{"an operator"},
        ShowStacks{},
        TraceSteps{5},
        Stop{"signal"}};
    ASSERT_EQ(all.size(), std::variant_size_v<CoordinatorMessage>);
    for (const CoordinatorMessage& message : all) {
        const json sent = through_text(to_json(message));
        EXPECT_EQ(to_json(coordinator_message_from_json(sent)), sent);
    }
}

TEST(Messages, DoublesArriveWithTheSameBits) {
    for (const double value :
         {1.0 / 3.0, 0.1, 2.2250738585072014e-308, 1.7976931348623157e308, 5e-324, 4.170230865478516}) {
        StepReport report;
        report.loss = value;
        const auto back = std::get<StepReport>(worker_message_from_json(through_text(to_json(WorkerMessage(report)))));
        EXPECT_EQ(back.loss, value);
    }
}

TEST(Messages, NonFiniteNumbersSurviveTheWire) {
    StepReport report;
    report.loss = std::numeric_limits<double>::quiet_NaN();
    report.grad_norm = std::numeric_limits<double>::infinity();
    report.eval_loss = -std::numeric_limits<double>::infinity();
    const auto back = std::get<StepReport>(worker_message_from_json(through_text(to_json(WorkerMessage(report)))));
    EXPECT_TRUE(std::isnan(back.loss));
    EXPECT_EQ(back.grad_norm, std::numeric_limits<double>::infinity());
    EXPECT_EQ(back.eval_loss, -std::numeric_limits<double>::infinity());
}

TEST(Messages, AStepWithoutEvaluationHasNone) {
    const auto back = std::get<StepReport>(worker_message_from_json(to_json(WorkerMessage(StepReport{}))));
    EXPECT_FALSE(back.eval_loss.has_value());
}

TEST(Messages, AMissingFieldIsNamed) {
    json message = to_json(WorkerMessage(Heartbeat{}));
    message.erase("collective");
    EXPECT_EQ(message_of<ConfigError>([&] { worker_message_from_json(message); }),
              "message 'heartbeat': field 'collective' is missing");
}

TEST(Messages, AnUnknownFieldIsNamed) {
    json message = to_json(WorkerMessage(TaskRequest{}));
    message["colour"] = 1;
    EXPECT_EQ(message_of<ConfigError>([&] { worker_message_from_json(message); }),
              "message 'task_request': unknown field \"colour\"");
}

TEST(Messages, AMalformedFieldIsNamedWithWhatWasFound) {
    const std::vector<std::tuple<const char*, json, std::string>> cases = {
        {"step", -1, "field 'step': expected an integer of at least 0, found -1"},
        {"work", -1, "field 'work': expected an integer of at least 0, found -1"},
        {"step", 1.5, "field 'step': expected an integer of at least 0, found 1.5"},
        {"step", json::parse("1e30"), "expected an integer of at least 0, found 1e+30"},
        {"phase", 3, "field 'phase': expected a string, found 3"},
    };
    for (const auto& [field, value, expected] : cases) {
        json message = to_json(WorkerMessage(Heartbeat{}));
        message[field] = value;
        EXPECT_NE(message_of<ConfigError>([&, &m = message] { worker_message_from_json(m); }).find(expected),
                  std::string::npos)
            << value;
    }
    json hello = to_json(WorkerMessage(Hello{}));
    hello["rank"] = 4294967296u;
    EXPECT_NE(message_of<ConfigError>([&] { worker_message_from_json(hello); }).find("at most 2147483647"),
              std::string::npos);
    json step = to_json(WorkerMessage(StepReport{}));
    step["clipped"] = "yes";
    EXPECT_NE(message_of<ConfigError>([&] {
                  worker_message_from_json(step);
              }).find("field 'clipped': expected true or false"),
              std::string::npos);
    step = to_json(WorkerMessage(StepReport{}));
    step["loss"] = "many";
    EXPECT_NE(message_of<ConfigError>([&] {
                  worker_message_from_json(step);
              }).find("field 'loss': expected a number, found \"many\""),
              std::string::npos);
}

TEST(Messages, PhaseNamesAreBoundedBecauseTheyBecomeLabels) {
    json step = to_json(WorkerMessage(StepReport{}));
    step["phase_seconds"]["with space"] = 1.0;
    EXPECT_NE(message_of<ConfigError>([&] { worker_message_from_json(step); }).find("keys of a-z and _"),
              std::string::npos);
    step["phase_seconds"] = json::object();
    for (int i = 0; i < 33; ++i) step["phase_seconds"][std::string(static_cast<std::size_t>(i + 1), 'a')] = 1.0;
    EXPECT_NE(message_of<ConfigError>([&] { worker_message_from_json(step); }).find("at most 32"), std::string::npos);
}

TEST(Messages, TrafficArrivesRowByRow) {
    StepReport report;
    report.traffic = {{"data", "reduce_scatter", 7, 1ULL << 40, 0.125}, {"pipeline", "send", 3, 12, 0}};
    const auto back = std::get<StepReport>(worker_message_from_json(through_text(to_json(WorkerMessage(report)))));
    ASSERT_EQ(back.traffic.size(), 2U);
    EXPECT_EQ(back.traffic[0].group, "data");
    EXPECT_EQ(back.traffic[0].operation, "reduce_scatter");
    EXPECT_EQ(back.traffic[0].calls, 7U);
    EXPECT_EQ(back.traffic[0].bytes, 1ULL << 40);
    EXPECT_EQ(back.traffic[0].seconds, 0.125);
    EXPECT_EQ(back.traffic[1].group, "pipeline");
}

TEST(Messages, AStepThatSaysNothingOfTrafficHasNone) {
    json step = to_json(WorkerMessage(StepReport{}));
    step.erase("traffic");
    EXPECT_TRUE(std::get<StepReport>(worker_message_from_json(step)).traffic.empty());
    step.erase("loss");
    EXPECT_NE(message_of<ConfigError>([&] { worker_message_from_json(step); }).find("field 'loss' is missing"),
              std::string::npos);
}

TEST(Messages, TrafficIsBoundedBecauseItsWordsBecomeLabelsAndItsNumbersSums) {
    const json row = {{"group", "data"}, {"operation", "send"}, {"calls", 1}, {"bytes", 4}, {"seconds", 0.5}};
    const auto take = [](const json& traffic) {
        json step = to_json(WorkerMessage(StepReport{}));
        step["traffic"] = traffic;
        worker_message_from_json(through_text(step));
    };
    const auto refusal = [&](const json& traffic) { return message_of<ConfigError>([&] { take(traffic); }); };
    const auto refusal_of = [&](const char* field, const json& value) {
        json changed = row;
        changed[field] = value;
        return refusal(json::array({changed}));
    };
    EXPECT_NO_THROW(take(json::array({row})));
    EXPECT_NE(refusal(json::array({1})).find("rows that are objects, found 1"), std::string::npos);
    EXPECT_NE(refusal(json::object()).find("an array of at most 64 rows"), std::string::npos);
    EXPECT_NE(refusal(json(65, row)).find("an array of at most 64 rows"), std::string::npos);
    EXPECT_NE(refusal_of("group", "a b").find("field 'group': expected a word of a-z and _"), std::string::npos);
    EXPECT_NE(refusal_of("operation", std::string(33, 'a')).find("field 'operation'"), std::string::npos);
    EXPECT_NE(refusal_of("bytes", -4).find("field 'bytes': expected an integer of at least 0"), std::string::npos);
    EXPECT_NE(refusal_of("colour", 1).find("unknown field \"colour\""), std::string::npos);
    for (const json& seconds : {json(-0.5), json("nan"), json("inf")})
        EXPECT_NE(refusal_of("seconds", seconds).find("a finite number of at least 0"), std::string::npos) << seconds;
}

TEST(Messages, WhatIsSaidOfTheNetworkIsBoundedBecauseItBecomesSeries) {
    Health health;
    health.of.groups = {{"norm", 1, 2}};
    health.of.layers = {{3, 1, 2, 3, std::numeric_limits<double>::quiet_NaN(), 5, 6}};
    const json good = through_text(to_json(WorkerMessage(health)));
    const auto back = std::get<Health>(worker_message_from_json(good));
    ASSERT_EQ(back.of.layers.size(), 1U);
    EXPECT_TRUE(std::isnan(back.of.layers[0].mean_cosine));
    EXPECT_FALSE(back.of.output_logit_max.has_value());
    const auto refusal = [&](const char* field, const json& value) {
        json changed = good;
        changed[field] = value;
        return message_of<ConfigError>([&] { worker_message_from_json(changed); });
    };
    EXPECT_NE(
        refusal("layers", json(65, good["layers"][0])).find("field 'layers': expected an array of at most 64 rows"),
        std::string::npos);
    json row = good["layers"][0];
    row["layer"] = -1;
    EXPECT_NE(refusal("layers", json::array({row})).find("message 'health: layers': field 'layer'"), std::string::npos);
    row = good["groups"][0];
    row["group"] = "a b";
    EXPECT_NE(refusal("groups", json::array({row})).find("field 'group': expected a word of a-z and _"),
              std::string::npos);
    EXPECT_NE(refusal("output_logit_max", "high").find("field 'output_logit_max': expected a number"),
              std::string::npos);
}

TEST(Messages, WhatIsNoMessageIsRefused) {
    EXPECT_NE(message_of<ConfigError>([] { worker_message_from_json(json::array()); }).find("expected an object"),
              std::string::npos);
    EXPECT_NE(message_of<ConfigError>([] { worker_message_from_json(json::object()); }).find("field 'type' is missing"),
              std::string::npos);
    EXPECT_NE(message_of<ConfigError>([] {
                  worker_message_from_json({{"type", "party"}});
              }).find("unknown type \"party\""),
              std::string::npos);
    EXPECT_NE(message_of<ConfigError>([] {
                  worker_message_from_json(to_json(CoordinatorMessage(Stop{})));
              }).find("unknown type \"stop\""),
              std::string::npos);
}

}  // namespace
}  // namespace kiban::coordinator
