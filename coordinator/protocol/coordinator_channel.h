// SPDX-License-Identifier: Apache-2.0
// The coordinator's end of the control channel: binds, lets in who proves this attempt's key, answers every sign of
// life.
//
// One I/O thread owns the sockets, so that workers are answered while the coordinator writes a checkpoint. send() and
// take() may be called from any thread. What comes without the key, from another run or attempt, or malformed is
// refused, counted and logged. Errors: ConfigError naming the interface when it cannot be bound. CURVE: RFC 26 of
// ZeroMQ; allow-list: RFC 27 (ZAP).
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/protocol/messages.h"

namespace kiban::coordinator {

struct CoordinatorChannelOptions {
    std::filesystem::path run_dir;
    std::string run_id;
    std::uint32_t attempt = 0;
    int workers = 1;  // ranks 0 .. workers-1 are let in
    std::string control_interface =
        "127.0.0.1";                        // address or interface name; 0.0.0.0 announces every address of this host
    double heartbeat_timeout_seconds = 30;  // told to the workers
};

struct Arrival {
    int rank = 0;
    double at_seconds = 0;  // monotonic
    WorkerMessage message;
};

struct Refusals {
    std::uint64_t without_key = 0;
    std::uint64_t other_attempt = 0;  // another run or attempt
    std::uint64_t malformed = 0;      // no message of ours, or from no rank of ours
};

class CoordinatorChannel {
  public:
    /// Makes the keys, binds a free port and writes the files of coordinator/protocol/wire.h.
    explicit CoordinatorChannel(const CoordinatorChannelOptions& options);
    ~CoordinatorChannel();  // sends what is queued (at most 1 s), removes the key
    CoordinatorChannel(const CoordinatorChannel&) = delete;
    CoordinatorChannel& operator=(const CoordinatorChannel&) = delete;

    void send(int rank, const CoordinatorMessage& message);
    void send_to_all(const CoordinatorMessage& message);
    /// Everything that has arrived, in order.
    std::vector<Arrival> take();
    /// Readable while take() has something: for poll().
    int descriptor() const;
    Refusals refusals() const;
    int port() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::coordinator
