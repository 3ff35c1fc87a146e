// SPDX-License-Identifier: Apache-2.0
// Who is in an attempt: hellos and heartbeats in, missing and lost workers out. Pure: the clock is an argument
// (monotonic seconds).
#pragma once

#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/protocol/messages.h"

namespace kiban::coordinator {

struct Member {
    std::optional<Hello> hello;  // none yet: starting
    Heartbeat heartbeat;         // the latest
    double last_heard = 0;
    bool finished = false;
    std::optional<double> own_seconds;  // in a step, lately
    bool straggler = false;
};

class Membership {
  public:
    Membership(int workers, double start, double start_timeout_seconds, double heartbeat_timeout_seconds);

    /// ConfigError: another world size than ours (a launcher that starts singletons), or a second process with a rank
    /// that is taken.
    void hello(const Hello& hello, double now);
    void heard(int rank, double now);
    void heartbeat(int rank, const Heartbeat& heartbeat, double now);
    void finished(int rank);
    void set_own_seconds(int rank, std::optional<double> seconds, bool straggler);
    /// This process did not run for a while: nobody is silent for that.
    void excuse(double seconds);

    bool all_joined() const;
    bool all_finished() const;
    /// Ranks that have not said hello although the time for it is over.
    std::vector<int> missing(double now) const;
    /// Ranks that have joined, have not finished and have been silent for longer than the timeout.
    std::vector<int> lost(double now) const;
    /// Hosts that have a lost worker and none that was heard within half of the timeout: what is silent is the host.
    std::set<std::string> silent_hosts(double now) const;
    /// The rank has joined, has not finished and is not lost.
    bool answers(int rank, double now) const;
    const std::vector<Member>& members() const { return members_; }

  private:
    bool is_silent(const Member& member, double now) const { return now - member.last_heard > heartbeat_timeout_; }

    std::vector<Member> members_;
    double start_;
    double start_timeout_;
    double heartbeat_timeout_;
};

}  // namespace kiban::coordinator
