// SPDX-License-Identifier: Apache-2.0
// What to do after an attempt ended: a pure function of how it ended and of what came before.
//
// The first failure that a worker reported outranks the launcher's exit code. 64, 65 and 78 are never restarted: they
// would end the same way.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/protocol/messages.h"
#include "monitoring/error.h"

namespace kiban::coordinator {

/// So many checkpoints failed one after another that the run ends.
class SavesFailedError : public Error {
  public:
    using Error::Error;
    static constexpr const char* kName = "SavesFailedError";
    int exit_code() const noexcept override { return kExitIo; }
    const char* type_name() const noexcept override { return kName; }
};

struct AttemptEnd {
    bool finished = false;           // every worker said so
    bool stopped = false;            // ... after a requested save
    bool interrupted = false;        // a stop was asked for when there was nothing to save
    std::optional<Failure> failure;  // the first one
    int failed_rank = -1;
    std::vector<int> missing;  // never said hello in time
    std::vector<int> lost;     // fell silent
    std::optional<int> launcher_exit;
    std::string launcher_errors;  // its last lines
    std::string output;           // of worker 0: generated text
    bool asked_to_leave = false;  // by a signal, an operator or the clock, also where the attempt failed first
    bool requeue = false;         // ... since the time of the job is up: it goes back into the queue
};

struct AttemptHistory {
    std::uint32_t ends_without_progress = 0;  // this one included: nothing durable was added since
    std::optional<Failure> previous_failure;  // of the attempt before, when nothing durable was added since
};

struct Decision {
    enum class Kind { done, restart, stop } kind = Kind::stop;
    int exit_code = 0;
    double backoff_seconds = 0;
    std::string reason = {};  // for a person
    std::string cause =
        {};  // bounded: metric label (non_finite | worker_failure | worker_lost | start_timeout | launcher)
};

/// How an attempt ended, in one sentence.
std::string describe(const AttemptEnd& end);

Decision decide(const AttemptEnd& end, const AttemptHistory& history, std::uint32_t max_restarts);

}  // namespace kiban::coordinator
