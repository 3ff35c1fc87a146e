// SPDX-License-Identifier: Apache-2.0
// The coordinator's part of corpus preparation: hands the tasks of a data::Preparation to the workers that ask.
#pragma once

#include <deque>
#include <map>
#include <optional>

#include "coordinator/run/supervise.h"
#include "data/prepare.h"

namespace kiban::coordinator {

class PrepareMode : public AttemptMode {
  public:
    PrepareMode(Session& session, data::Preparation& preparation) : session_(session), preparation_(preparation) {}

    void joined(CoordinatorChannel& channel) override;
    void on_message(CoordinatorChannel& channel, int rank, const WorkerMessage& message) override;
    bool request_stop(CoordinatorChannel& channel, const std::string& reason) override;
    bool survives_io() const override { return true; }
    std::uint64_t progress() const override { return preparation_.progress().tasks_done; }
    void on_request(CoordinatorChannel& channel, const Request& request) override;
    void ended() override;

  private:
    void serve(CoordinatorChannel& channel);
    void show_progress();

    Session& session_;
    data::Preparation& preparation_;
    std::deque<int> waiting_;              // ranks that asked
    std::map<std::uint64_t, int> handed_;  // task id -> rank
    double next_progress_ = 0;
    double joined_at_ = 0;            // monotonic seconds
    std::uint64_t joined_bytes_ = 0;  // of input that were prepared before
    bool first_whole_ = true;         // not all input was prepared when last looked at
};

/// Prepares the corpus when it is not there yet; starts no workers when it is. The outcome's decision is `done` with
/// code 0 then.
Outcome prepare_corpus(Session& session, data::Preparation& preparation);

/// How a run ends of a stop that came when the last task was done already, so that there was nothing to be stopped:
/// what would follow must not begin. nullopt where none came.
std::optional<Outcome> stop_after_preparation(const Outcome& prepared);

}  // namespace kiban::coordinator
