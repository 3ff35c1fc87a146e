// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/mpi_environment.h"

#include <array>
#include <cstdlib>
#include <memory>

#include "monitoring/error.h"
#include "worker/comm/mpi_group.h"
#include "worker/comm/shared_window.h"
#include "worker/comm/submit.h"

namespace kiban::worker {

MpiEnvironment::MpiEnvironment() {
    int provided = MPI_THREAD_SINGLE;
    if (const int code = MPI_Init_thread(nullptr, nullptr, MPI_THREAD_SERIALIZED, &provided); code != MPI_SUCCESS) {
        throw CommError("cannot initialise MPI: {}", mpi_error_text(code));
    }
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    if (provided < MPI_THREAD_SERIALIZED) {
        throw ConfigError("cannot use this MPI ({}): expected thread level MPI_THREAD_SERIALIZED ({}), found {}",
                          mpi_version(), static_cast<int>(MPI_THREAD_SERIALIZED), provided);
    }
}

MpiEnvironment::~MpiEnvironment() {
    SharedWindow::free_all();
    MPI_Finalize();
}

Group MpiEnvironment::world(int expected_size) const {
    std::shared_ptr<const Group::Impl> all;
    in_turn([&] { all = std::make_shared<const Group::Impl>("world", MPI_COMM_WORLD, Group::Impl::Owns::nothing); });
    Group world(std::move(all));
    if (world.size() != expected_size) {
        throw ConfigError(
            "cannot start training: expected a world of {} workers, found {}; under Slurm this happens when srun and "
            "{} do not share "
            "a PMI plug-in (srun --mpi=list)",
            expected_size, world.size(), mpi_version());
    }
    return world;
}

void MpiEnvironment::abort(int exit_code) const noexcept {
    MPI_Abort(MPI_COMM_WORLD, exit_code);
    std::_Exit(exit_code);
}

std::string mpi_version() {
    std::array<char, MPI_MAX_LIBRARY_VERSION_STRING> text{};
    int length = 0;
    if (MPI_Get_library_version(text.data(), &length) != MPI_SUCCESS) return "unknown MPI";
    const std::string whole(text.data(), static_cast<std::size_t>(length));
    return whole.substr(0, whole.find(','));
}

}  // namespace kiban::worker
