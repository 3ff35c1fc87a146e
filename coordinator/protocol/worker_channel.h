// SPDX-License-Identifier: Apache-2.0
// The worker's end of the control channel: dials out to the coordinator, proves the key, beats its heart from a side
// thread.
//
// The address, the coordinator's public key and this attempt's client key come from RUN/control/attempt-N.json and
// RUN/keys/ (0600). One I/O thread owns the socket; send() and receive() may be called from any thread (bounded queues
// between). After 30 s without a word from the coordinator (it answers every heartbeat) lost() is true and receive()
// throws CommError: the worker finishes nothing and exits 75. Time in which this process was stopped does not count.
#pragma once

#include <atomic>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "coordinator/protocol/messages.h"

namespace kiban::coordinator {

class WorkerChannel {
  public:
    /// Connects and sends `hello`. CommError when the coordinator does not answer within `timeout_seconds`.
    WorkerChannel(const std::filesystem::path& run_dir, std::uint32_t attempt, const Hello& hello,
                  double timeout_seconds);
    ~WorkerChannel();  // flushes what was sent (at most 2 s)
    WorkerChannel(const WorkerChannel&) = delete;
    WorkerChannel& operator=(const WorkerChannel&) = delete;

    /// In order. A StepReport may wait 0.2 s for others, so that several travel together; any other message takes
    /// along what waits.
    void send(const WorkerMessage& message);
    /// The next message, waiting at most `timeout_seconds` (0: only what is there).
    std::optional<CoordinatorMessage> receive(double timeout_seconds);

    /// From now on messages for which `taker` returns true do not reach receive(): it is called on the I/O thread, as
    /// they come, so it must not wait; those that lie there are offered to it at once. Empty: nothing is taken; the
    /// taker before is not called any more when this returns.
    void set_taker(std::function<bool(const CoordinatorMessage&)> taker);

    /// What the heartbeats (one a second) say from now on. Cheap; called by the training thread at each phase change.
    void set_phase(const char* phase, std::uint64_t step);
    void set_work(std::uint64_t work);
    void set_memory(std::uint64_t resident_bytes, std::uint64_t optimizer_bytes);
    /// A heartbeat before whatever is sent next.
    void beat();
    void set_phase_seconds(const std::map<std::string, double>& seconds);
    void set_busy(double seconds, std::uint64_t steps);
    /// Asked at each heartbeat, on the I/O thread: how many collectives have begun.
    void set_collective(std::function<std::uint64_t()> collectives);
    /// Asked when the coordinator wants to see them, on the I/O thread: the stacks of all threads. Takes a second at
    /// most.
    void set_stacks(std::function<std::string()> stacks);
    bool lost() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::coordinator
