// SPDX-License-Identifier: Apache-2.0
// What a Group hides: the communicator, and the check that every MPI call goes through. Internal to worker/comm; the
// only header with mpi.h.
#pragma once

#ifndef OMPI_SKIP_MPICXX
#define OMPI_SKIP_MPICXX 1
#endif
#include <mpi.h>

#include <memory>
#include <string>

#include "worker/comm/group.h"
#include "worker/comm/traffic_count.h"

namespace kiban::worker {

class SharedWindow;
struct NodeGroups;
struct Routes;

struct Group::Impl {
    enum class Owns { nothing, communicator };
    Impl(std::string group_name, MPI_Comm handle, Owns owned, Transport how = Transport::automatic);
    ~Impl();
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    /// Notes that a verb begins.
    void begin() const;
    /// CommError unless `code` is MPI_SUCCESS. `peer` is a rank of this group.
    void check(int code, const char* call, int peer = kNoPeer) const;
    /// CommError when the ranks disagree about `size`.
    void check_equal_size(std::size_t size, const char* verb) const;

    /// Where large buffers go: through a window of all ranks, node by node, or, where both are null, in messages.
    /// Each is collective when one is called first.
    SharedWindow* window() const;
    const NodeGroups* nodes() const;

    static constexpr int kNoPeer = -1;

    std::string name;
    MPI_Comm communicator = MPI_COMM_NULL;  // null: alone
    Owns owns = Owns::nothing;
    int rank = 0;
    int size = 1;
    Transport transport = Transport::automatic;
    TrafficCells& cells;

  private:
    const Routes& routes() const;
    mutable std::unique_ptr<Routes> routes_;  // null: not decided
};

/// MPI's own words for an error code.
std::string mpi_error_text(int code);

}  // namespace kiban::worker
