// SPDX-License-Identifier: Apache-2.0
// Buffers from one rank to another, as MPI messages of a piece each. Internal to worker/comm.
#pragma once

#include <cstddef>
#include <span>
#include <vector>

#include "worker/comm/mpi_group.h"

namespace kiban::worker {

/// Lives while messages that nobody waits for yet are under way: MPI must then be called again and again.
class MessagesUnderWay {
  public:
    MessagesUnderWay();
    ~MessagesUnderWay();
    MessagesUnderWay(const MessagesUnderWay&) = delete;
    MessagesUnderWay& operator=(const MessagesUnderWay&) = delete;

    /// Whether there are any of this process.
    static bool any();
};

/// A buffer on its way. It must stay until ended() has been true.
class MessagesOut {
  public:
    MessagesOut(const Group::Impl& group, std::span<const float> values, int to, int tag);
    MessagesOut(const MessagesOut&) = delete;
    MessagesOut& operator=(const MessagesOut&) = delete;

    /// Whether MPI is done with the buffer; waits for that when told to.
    bool ended(bool wait);

  private:
    const Group::Impl& group_;
    int to_;
    std::vector<MPI_Request> requests_;
    MessagesUnderWay under_way_;
};

/// CommError when what comes has another size.
void receive(const Group::Impl& group, std::span<float> values, int from, int tag);

}  // namespace kiban::worker
