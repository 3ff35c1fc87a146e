// SPDX-License-Identifier: Apache-2.0
// Ends of attempts, and what the policy makes of one after another.
#pragma once

#include <cstdint>
#include <functional>
#include <set>
#include <string>
#include <utility>

#include "coordinator/run/policy.h"

namespace kiban::coordinator {

inline AttemptEnd failed(const char* type, int code, const char* message = "m", std::uint64_t step = 5) {
    AttemptEnd end;
    end.failure = Failure{type, message, step, code};
    end.failed_rank = 1;
    return end;
}

inline AttemptEnd launcher_ended(int code) {
    AttemptEnd end;
    end.launcher_exit = code;
    return end;
}

inline AttemptEnd at_step(AttemptEnd end, std::uint64_t step, const char* phase = "forward", const char* host = "h1") {
    end.place = Place{.rank = 1, .host = host, .phase = phase, .step = step, .position = step * 32};
    end.began = step > 0;
    return end;
}

// Decides one end after another; nothing durable comes in between unless the event says so.
class Story {
  public:
    PolicyRules rules;
    double now = 0;
    bool progress = false;
    bool older_checkpoint = true;
    std::function<int(const std::set<std::string>&)> workers_without;
    bool may_requeue = false;

    Decision ends(const AttemptEnd& end) {
        auto [decision, next] = decide(std::move(state),
                                       {.end = end,
                                        .now = now,
                                        .progress = progress,
                                        .older_checkpoint = older_checkpoint,
                                        .workers_without = workers_without,
                                        .may_requeue = may_requeue},
                                       rules);
        state = std::move(next);
        return decision;
    }
    PolicyState state;
};

}  // namespace kiban::coordinator
