// SPDX-License-Identifier: Apache-2.0
// A trace of some steps of all ranks: `kiban trace-steps` asks, worker 0 is told, every worker sends what it recorded,
// and RUN/traces/ gets one file that Chrome (chrome://tracing) and Perfetto read: a process for each rank, in it the
// phases of the training thread, its passes, and the exchanges of the communication thread. One thread.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <map>
#include <set>
#include <string>

#include "coordinator/protocol/messages.h"
#include "coordinator/run/requests.h"

namespace kiban::coordinator {

constexpr std::uint64_t kMostTracedSteps = 100;

/// The text of the file: `spans` of each rank as TracedSteps has them. ConfigError when they are not of that form.
std::string chrome_trace(const std::map<int, nlohmann::json>& spans);
/// Steps that were recorded from their beginning: the end of the one before is there too.
std::set<std::uint64_t> whole_steps(const nlohmann::json& spans);

class StepTrace {
  public:
    StepTrace(std::filesystem::path directory, int workers, RequestBox& requests)
        : directory_(std::move(directory)), workers_(workers), requests_(requests) {}

    /// ConfigError when one is under way, or for a number of steps that is none of 1 to kMostTracedSteps.
    void begin(const Request& request);
    /// The last rank completes the file, and its answer is the file's name.
    void add(int rank, TracedSteps&& traced);
    /// The attempt is over: who waits is told.
    void end();

  private:
    void write();
    void give_up(const std::string& why);

    std::filesystem::path directory_;
    int workers_;
    RequestBox& requests_;
    std::string request_;  // empty: none is under way
    std::uint64_t asked_ = 0;
    std::uint64_t left_out_ = 0;
    std::map<int, nlohmann::json> spans_;
};

}  // namespace kiban::coordinator
