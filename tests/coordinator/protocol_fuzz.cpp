// SPDX-License-Identifier: Apache-2.0
// protocol_fuzz EXECUTIONS [SEED]: frames of the control channel, from either side. Each is either no envelope, refused
// by a ConfigError, or a message that is the same after being sent and received again.
#include <functional>
#include <limits>

#include "checkpoint/shard.h"
#include "coordinator/protocol/messages.h"
#include "coordinator/protocol/wire.h"
#include "monitoring/error.h"
#include "tests/support/fuzz.h"

namespace {

using namespace kiban;
using namespace kiban::coordinator;
using nlohmann::json;

std::string frame(const json& message) { return seal("run", 3, message); }

template <typename Message>
std::string frame_of(const std::function<void(Message&)>& fill) {
    Message message;
    fill(message);
    if constexpr (requires { WorkerMessage(message); })
        return frame(to_json(WorkerMessage(message)));
    else
        return frame(to_json(CoordinatorMessage(message)));
}

void fill_step(StepReport& step) {
    step.step = 9;
    step.loss = 2.5;
    step.grad_norm = std::numeric_limits<double>::infinity();
    step.phase_seconds = {{"forward", 0.5}, {"save", 0.25}};
    step.traffic = {{.group = "data", .operation = "all_gather", .calls = 4, .bytes = 4096, .seconds = 0.5}};
}

void fill_health(Health& health) {
    health.of.groups = {{.group = "mlp", .parameters = 3, .update = 0.5}};
    health.of.layers = {{.layer = 1, .rms = 1.5, .largest = 9, .kurtosis = 3}};
    health.of.embedding_uniformity = -3.5;
}

void fill_shard(ShardWritten& written) {
    const checkpoint::TensorInfo tensor{{"w", "param"}, checkpoint::DType::f32, {4}};
    written.report = checkpoint::to_json(checkpoint::ShardReport{
        "shard-00000.h5", 4096, {7}, {{.tensor = tensor, .box = {{0}, {4}}, .file_offset = 8, .fingerprint = 5}}});
}

std::vector<std::string> corpus() {
    return {frame(nullptr),
            frame_of<Hello>([](Hello& hello) { hello.host = "a-host"; }),
            frame_of<Heartbeat>([](Heartbeat& beat) { beat.phase = "forward"; }),
            frame_of<StepReport>(fill_step),
            frame_of<Health>(fill_health),
            frame_of<StageRequest>([](StageRequest& request) {
                request.state = {{"step", 4}};
            }),
            frame_of<ShardWritten>(fill_shard),
            frame_of<TaskRequest>([](TaskRequest&) {}),
            frame_of<TaskDone>([](TaskDone& done) {
                done.result = {{"a", 1}};
            }),
            frame_of<Failure>([](Failure& failure) { failure.type = "DataError"; }),
            frame_of<Job>([](Job& job) { job.options = json::object(); }),
            frame_of<Task>([](Task& task) {
                task.task = {{"id", 1}};
            }),
            frame_of<Stop>([](Stop& stop) { stop.reason = "a reason"; }),
            "[]",
            R"({"run":5,"attempt":3})",
            R"({"run":"run","attempt":-3})",
            "{\"run\":\"\xC3\x28\",\"attempt\":3}"};
}

// False when it is none of this side's.
template <typename Message>
bool comes_back(const json& text, Message (*read)(const json&)) {
    try {
        const json once = to_json(read(text));
        const auto again = open_envelope(frame(once).data(), frame(once).size());
        KIBAN_CHECK(again && to_json(read(again->message)) == once, "another message came back: {}", once.dump());
        return true;
    } catch (const ConfigError&) {
        return false;
    }
}

void read_report(const json& message) {
    if (!message.is_object() || !message.contains("report")) return;
    try {
        const auto once = checkpoint::to_json(checkpoint::shard_report_from_json(message["report"]));
        KIBAN_CHECK(checkpoint::to_json(checkpoint::shard_report_from_json(once)) == once, "another report came back");
    } catch (const CheckpointError&) {
        return;
    }
}

bool execute(const std::string& text) {
    const auto envelope = open_envelope(text.data(), text.size());
    if (!envelope) return false;
    if (envelope->message.is_null()) return true;
    read_report(envelope->message);
    const bool worker = comes_back<WorkerMessage>(envelope->message, worker_message_from_json);
    const bool coordinator = comes_back<CoordinatorMessage>(envelope->message, coordinator_message_from_json);
    return worker || coordinator;
}

std::string deep(const std::string& before) {
    return before + std::string(200000, '[') + std::string(200000, ']') + "}}";
}

}  // namespace

int main(int argc, char** argv) {
    const testing::FuzzTarget target{
        .corpus = corpus(),
        .tokens = {"0",
                   "-1",
                   "2147483648",
                   "18446744073709551615",
                   "18446744073709551616",
                   "1e999",
                   "1.5",
                   "null",
                   "true",
                   "\"nan\"",
                   "\"-inf\"",
                   "{}",
                   "[]",
                   "\"type\":",
                   "\"message\":",
                   "\"step\":",
                   "\"report\":",
                   "\"traffic\":",
                   "\"phase_seconds\":",
                   "\"hello\"",
                   "\"shard_written\"",
                   "\"job\"",
                   "[",
                   "]",
                   "{",
                   "}",
                   ",",
                   ":",
                   "\"",
                   "\\u0000",
                   "\\ud800",
                   "\xC3\x28"},
        .good = 13,
        .execute = execute,
        .replayed = {deep(R"({"run":"run","attempt":3,"message":{"type":"task","none":false,"task":)"),
                     deep(R"({"run":"run","attempt":3,"message":{"type":)")}};
    return testing::fuzz(target, argc, argv);
}
