// SPDX-License-Identifier: Apache-2.0
// The life of MPI in this process: initialised once, by main, before any Group exists; finalised after the last one.
//
// Requires MPI_THREAD_SERIALIZED: threads may take turns. Asks MPI to return errors, so that Kiban can say what it was
// doing. Errors: ConfigError when MPI gives less, or the world has another size than expected.
#pragma once

#include <string>

#include "worker/comm/group.h"

namespace kiban::worker {

class MpiEnvironment {
  public:
    MpiEnvironment();
    /// Finalises MPI: collective, so only where all ranks come to an end. On an error path call abort() instead.
    ~MpiEnvironment();
    MpiEnvironment(const MpiEnvironment&) = delete;
    MpiEnvironment& operator=(const MpiEnvironment&) = delete;

    /// All processes of the step. ConfigError unless there are `expected_size`: processes that do not know of each
    /// other (a launcher without the right MPI plug-in) would each train alone.
    Group world(int expected_size) const;

    /// Ends every process of the step with this exit code. Never waits for a peer.
    [[noreturn]] void abort(int exit_code) const noexcept;
};

/// Such as "Open MPI v4.1.4". Valid before MPI is initialised.
std::string mpi_version();

}  // namespace kiban::worker
