// SPDX-License-Identifier: Apache-2.0
// What to do after an attempt ended: a pure function of how it ended and of what came before. No clock, no files.
//
// The first failure that a worker reported outranks the launcher's exit code. 64, 65 and 78 are never restarted: they
// would end the same way. The rules, in the order in which they are asked: coordinator/SURVIVAL.md.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/job/survive_config.h"
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

/// Where an attempt ended, as far as anybody knows.
struct Place {
    int rank = -1;          // -1: which one is not known
    std::string host = {};  // empty: not known
    std::string phase = {};
    std::uint64_t step = 0;                      // under way; 0: none yet
    std::optional<std::uint64_t> position = {};  // of the sample order, where its rows begin
};

struct AttemptEnd {
    bool finished = false;             // every worker said so
    bool stopped = false;              // ... after a requested save
    bool interrupted = false;          // a stop was asked for when there was nothing to save
    std::optional<Failure> failure;    // the first one
    int failed_rank = -1;              // -1: the coordinator itself
    std::vector<int> missing;          // never said hello in time
    std::vector<int> lost;             // fell silent
    std::set<std::string> lost_hosts;  // gone with all workers on them, by the launcher's word or by their silence
    bool launcher_lost_hosts = false;  // the launcher says so
    std::string hang;                  // nobody moved any more: who stands where; empty: no hang
    std::optional<int> launcher_exit;
    std::string launcher_errors;     // its last lines
    std::string output;              // of worker 0: generated text
    bool asked_to_leave = false;     // by a signal, an operator or the clock, also where the attempt failed first
    bool requeue = false;            // ... since the time of the job is up: it goes back into the queue
    std::optional<Place> place;      // of the worker that ended it
    bool began = false;              // it has done something: a step, a task
    std::uint64_t undone_steps = 0;  // done since the last durable state
    std::string left_behind;         // a process that had not ended when the time was up; empty: all are gone
};

struct PolicyRules {
    std::uint32_t max_restarts = 10;  // launch.max_restarts
    SuperviseConfig supervise;
    std::uint32_t max_rollbacks = 3;
    std::uint64_t rollback_window_steps = 10000;
};

/// How an attempt ended, told apart from other ends: the same again is no accident.
struct Signature {
    std::string cause;
    std::string text;
    std::uint64_t step = 0;
    std::optional<std::uint64_t> position = {};  // of its rows; a step whose rows are left out takes other ones
};

/// What decide() needs of the ends before.
struct PolicyState {
    std::vector<double> fruitless;    // when attempts ended since something durable was added, within the window
    std::uint32_t failed_starts = 0;  // in a row
    std::uint32_t failed_loads = 0;   // in a row, while the same checkpoint was loaded
    std::uint32_t disk_ends = 0;      // I/O errors in a row, nothing durable in between
    std::optional<Signature> last;    // of the end before, I/O errors aside, when nothing durable was added since
    std::map<std::uint64_t, std::uint64_t> quarantined;  // where rows begin that are left out, and their step
    std::map<std::string, std::uint32_t> crashes;        // by short_host()
    std::set<std::string> excluded;                      // hosts
    std::vector<std::uint64_t> rollbacks;                // steps from which training was rolled back
};

struct PolicyEvent {
    AttemptEnd end;
    double now = 0;                 // monotonic seconds
    bool progress = false;          // something durable was added by this attempt
    bool older_checkpoint = false;  // there is one before that which was loaded
    double jitter = 0;              // 0 to 1: runs that fail together do not start again together
    /// Workers to go on with where these hosts are left out: as many as now where the others have room, fewer where the
    /// run file allows it; 0: neither. Empty: 0.
    std::function<int(const std::set<std::string>& out)> workers_without = {};
    bool may_requeue = false;  // its job can go back into the queue, and comes to other hosts then
};

struct Decision {
    enum class Kind { done, restart, stop } kind = Kind::stop;
    int exit_code = 0;
    double backoff_seconds = 0;
    std::string reason = {};  // for a person
    /// Bounded, a metric's label: non_finite | spike | worker_failure | coordinator_failure | worker_lost | hang |
    /// start_timeout | launcher.
    std::string cause = {};
    /// Bounded, a metric's label: the rule that decided.
    std::string rule = {};
    // What else is to be done before a restart.
    std::optional<Place> quarantine = {};  // leave out the rows of this step
    std::set<std::string> exclude_hosts = {};
    int workers = 0;                 // to go on with; 0: as many as before
    bool requeue = false;            // the job goes back into the queue
    bool reject_checkpoint = false;  // the one that was loaded
    bool roll_back = false;          // to a promoted checkpoint, leaving out rows
};

struct Transition {
    Decision decision;
    PolicyState state;
};

/// An error that a worker reports when too many steps were refused; decide() rolls back.
bool is_anomaly(const Failure& failure);

/// How an attempt ended, in one sentence.
std::string describe(const AttemptEnd& end);

/// The table: state x event -> decision and the next state.
Transition decide(PolicyState state, const PolicyEvent& event, const PolicyRules& rules);

/// Of a tool's only attempt: never a restart.
Decision decide_once(const AttemptEnd& end);

}  // namespace kiban::coordinator
