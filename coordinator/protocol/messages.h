// SPDX-License-Identifier: Apache-2.0
// The messages between coordinator and workers: JSON objects over ZeroMQ with CURVE. One struct a message; to_json and
// from_json are the wire format. What comes from another run or attempt is refused by the channel, before it gets here.
//
//   worker -> coordinator   Hello, Heartbeat, StepReport, StageRequest, ShardWritten,
//                           TaskRequest, TaskDone, LoadResult, StepRefused, Health, Stacks, TracedSteps, Failure,
//                           Finished
//
//   coordinator -> worker   Job, Task, StageReply, SaveResult, SaveInterval, SaveSoon, ShowStacks, TraceSteps, Stop
//
// Start: every worker sends Hello, gets Job (its modes stand there). train: each loads the
// checkpoint of the Job and verifies it, they agree over MPI, worker 0 sends LoadResult; when it failed the coordinator
// sends a new Job with an older checkpoint to all. Save at step s (all decide alike, see worker/train/saving.h): worker
// 0 sends StageRequest; the coordinator answers StageReply to every worker; each writes its shard, beside training, and
// sends ShardWritten; when all are in, the coordinator commits and sends SaveResult to every worker. One save at a
// time. prepare: each worker sends TaskRequest, gets Task (or none: finished), runs it, sends TaskDone. ShowStacks is
// answered beside whatever the worker does, or does not do any more.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "monitoring/model_health.h"

namespace kiban::coordinator {

// The members of type json move without throwing; the checker sees only that json checks its invariants.
// NOLINTBEGIN(bugprone-exception-escape)
struct Hello {
    int rank = 0;
    int world_size = 0;
    std::string host;
    int pid = 0;
    std::string kiban_version;
    std::string torch_version;
    std::string mpi_version;
    std::string hdf5_version;
    std::string kernels;  // BLAS core type in use
    int threads = 0;
};
struct Heartbeat {
    std::string phase;  // starting|loading|data|forward|backward|reduce|optimizer|evaluate|save|prepare|done
    std::uint64_t step = 0;
    std::uint64_t collective = 0;  // sequence number
    std::uint64_t work = 0;        // passes of micro-batches begun so far, those of evaluations among them
    std::uint64_t resident_bytes = 0;
    std::uint64_t optimizer_bytes = 0;
    double busy_seconds = 0;       // own time in steps so far: reading rows and passes. May be absent, as the next two
    std::uint64_t busy_steps = 0;  // in so many steps
    std::map<std::string, double> phase_seconds = {};  // since the process began, by phase
};
struct Traffic {            // of worker 0 with the group of that name (worker/comm/traffic.h)
    std::string group;      // world, data, tensor, layer, pipeline or tied
    std::string operation;  // reduce_scatter, all_gather, ...
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;
    double seconds = 0;
};
struct StepReport {  // worker 0 alone, after each step
    std::uint64_t step = 0;
    std::uint64_t tokens = 0;       // in all
    std::uint64_t step_tokens = 0;  // of this step
    double loss = 0;
    double learning_rate = 0;
    double grad_norm = 0;
    bool clipped = false;
    std::optional<double> eval_loss;
    std::optional<double> eval_accuracy = {};  // may be absent, as the next
    std::uint64_t eval_targets = 0;
    double step_seconds = 0;
    std::map<std::string, double> phase_seconds;
    std::vector<Traffic> traffic;  // since the report before: of the step and its evaluation. May be absent: none
    bool save_skipped = false;     // a checkpoint was due after it, and the one before is still under way
};
struct StageRequest {
    std::uint64_t step = 0;
    std::uint64_t bytes = 0;  // of all writers
    nlohmann::json state;     // checkpoint::RunState
    bool waited_for = false;  // training stands still until it is committed
};
struct ShardWritten {
    std::uint64_t step = 0;
    std::string error;      // empty: written and durable
    nlohmann::json report;  // checkpoint::ShardReport
    double seconds = 0;     // of the writing
};
struct TaskRequest {};
struct TaskDone {
    std::uint64_t id = 0;
    nlohmann::json result;
};
struct LoadResult {
    std::string checkpoint;  // directory; empty: started from initial weights
    std::string error;       // empty: all workers loaded and verified it
    std::string exactness;   // exact | sample-exact: reason
};
struct StepRefused {  // all made no update. Worker 0 alone, and all go on behind its rows; of each, which then fails,
                      // to be rolled back
    std::uint64_t step = 0;
    std::uint64_t position = 0;  // of the sample order, where its rows begin
    std::uint64_t rows = 0;
    std::string kind;  // non_finite | loss_spike | norm_spike
    std::string reason;
    double loss = 0;
    double grad_norm = 0;
    bool roll_back = false;
};
struct Health {  // worker 0 alone, behind the StepReport of a step after which there was an evaluation
    std::uint64_t step = 0;
    monitoring::ModelHealth of;
};
struct Stacks {  // of all threads, for a person
    std::string text;
};
struct Failure {
    std::string type;  // of monitoring/error.h: ConfigError, DataError, ...
    std::string message;
    std::uint64_t step = 0;
    int exit_code = 70;
};
constexpr std::size_t kMostTraceSpans = 1'000'000;  // of one trace, all workers together
struct TracedSteps {                                // from every worker, when the last step of a trace is over
    nlohmann::json spans;        // [[track, name, step, begin, duration], ...], begin in ns since 1970, duration in ns
    std::uint64_t left_out = 0;  // spans beyond what one trace may hold
};
struct Finished {
    std::uint64_t step = 0;
    bool stopped = false;  // true: left early because of Stop, after a save
    std::string output;    // generate: the text
};

struct Job {
    std::string mode;      // train | replay | prepare | generate | preflight
    std::string run_file;  // resolved TOML
    std::string manifest;  // path of the corpus manifest (train, generate)
    std::string manifest_digest;
    std::string checkpoint;  // directory to load; empty: initial weights
    nlohmann::json options;  // generate: prompt, max_tokens, temperature, top_k, seed; replay: steps; train, replay:
                             // left_out (coordinator/job/left_out.h), may be absent; mixture (data/order.h), likewise
};
struct Task {
    bool none = false;  // nothing left to do: finish
    nlohmann::json task;
};
struct StageReply {
    std::uint64_t step = 0;
    std::string directory;
    std::string error;  // not empty: no save this time (disk full, ...), training goes on
};
struct SaveResult {
    std::uint64_t step = 0;
    bool committed = false;
    std::string error;
};
struct SaveInterval {  // to worker 0, where the run file leaves it to us
    std::uint64_t steps = 0;
};
struct SaveSoon {  // to worker 0: a checkpoint at the next boundary at which none is under way, then go on
    std::string reason;
};
struct ShowStacks {};
struct TraceSteps {  // to worker 0: all workers record what they do in that many steps, from the next one on
    std::uint64_t steps = 0;
};
struct Stop {  // save at the next boundary, then finish
    std::string reason;
};

// NOLINTEND(bugprone-exception-escape)

using WorkerMessage = std::variant<Hello, Heartbeat, StepReport, StageRequest, ShardWritten, TaskRequest, TaskDone,
                                   LoadResult, StepRefused, Health, Stacks, TracedSteps, Failure, Finished>;
using CoordinatorMessage =
    std::variant<Job, Task, StageReply, SaveResult, SaveInterval, SaveSoon, ShowStacks, TraceSteps, Stop>;

/// {"type": "step", ...}. from_json: ConfigError naming the missing, unknown or malformed field (messages are untrusted
/// input).
nlohmann::json to_json(const WorkerMessage& message);
nlohmann::json to_json(const CoordinatorMessage& message);
WorkerMessage worker_message_from_json(const nlohmann::json& json);
CoordinatorMessage coordinator_message_from_json(const nlohmann::json& json);

}  // namespace kiban::coordinator
