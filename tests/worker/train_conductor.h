// SPDX-License-Identifier: Apache-2.0
// A coordinator for tests of the worker: the real control channel and the real commit protocol, without processes and
// policy.
//
// One thread hears the workers and answers. Everything it heard can be asked for after finish().
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/commit.h"
#include "coordinator/protocol/coordinator_channel.h"
#include "data/prepare.h"

namespace kiban::worker {

struct Script {  // what this coordinator does
    coordinator::Job job;
    std::optional<std::uint64_t> stop_after_step = {};                 // sends Stop when this step is reported
    std::optional<std::uint64_t> refuse_saves_from_step = {};          // answers StageRequest with an error
    std::uint64_t save_interval = 0;                                   // sent when loaded, unless 0
    std::string older_checkpoint = {};                                 // sent in a new job when a load failed
    std::function<void(coordinator::Job&, int)> change_for_rank = {};  // of the job, before it is sent
    data::Preparation* preparation = nullptr;                          // job "prepare": whose tasks are handed out
};

class Conductor {
  public:
    Conductor(std::filesystem::path run_dir, std::uint32_t attempt, int workers, Script script);
    ~Conductor();  // waits until every worker has finished or failed

    /// Waits, then hands over what was heard.
    void finish();

    std::vector<coordinator::StepReport> steps;
    std::vector<coordinator::StepRefused> refused;
    std::vector<coordinator::Health> health;
    std::vector<coordinator::LoadResult> loads;
    std::vector<coordinator::StageRequest> stages;
    std::vector<std::string> committed;           // directories
    std::map<int, coordinator::Heartbeat> beats;  // the last ones
    std::map<int, coordinator::Finished> finished;
    std::map<int, coordinator::Failure> failures;
    std::map<std::string, int> tasks_by_kind;

  private:
    void run();
    void handle(int rank, const coordinator::WorkerMessage& message);
    void send_job(const coordinator::Job& job);
    void stage(const coordinator::StageRequest& request);
    void shard_written(int rank, const coordinator::ShardWritten& written);
    void serve();

    std::filesystem::path run_dir_;
    std::uint32_t attempt_;
    int workers_;
    Script script_;
    coordinator::CoordinatorChannel channel_;
    int hellos_ = 0;
    std::filesystem::path staging_;
    std::map<int, coordinator::ShardWritten> shards_;
    std::vector<int> waiting_;
    std::thread thread_;
};

}  // namespace kiban::worker
