// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/group.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <limits>
#include <utility>

#include "monitoring/error.h"
#include "monitoring/log.h"
#include "worker/comm/flat_exchange.h"
#include "worker/comm/mpi_group.h"
#include "worker/comm/shared_exchange.h"
#include "worker/comm/tree_sum.h"

namespace kiban::worker {
namespace {

std::atomic<std::uint64_t> collectives{0};

int narrow(std::size_t count, const Group::Impl& group) {
    if (count > static_cast<std::size_t>(std::numeric_limits<int>::max())) {
        throw CommError("group '{}': a message of {} elements does not fit one MPI call", group.name, count);
    }
    return static_cast<int>(count);
}

void all_reduce_integers(const Group::Impl& group, void* values, std::size_t count, MPI_Datatype type,
                         MPI_Op operation) {
    if (!group.begin()) return;
    group.check(MPI_Allreduce(MPI_IN_PLACE, values, narrow(count, group), type, operation, group.communicator),
                "MPI_Allreduce");
}

constexpr std::size_t kFewDoubles = 4096;  // fewer: one MPI call, as a step's sums are

void all_reduce_few(const Group::Impl& group, std::span<double> values) {
    const std::size_t count = values.size();
    std::vector<double> all(count * static_cast<std::size_t>(group.size));
    group.check(MPI_Allgather(values.data(), narrow(count, group), MPI_DOUBLE, all.data(), narrow(count, group),
                              MPI_DOUBLE, group.communicator),
                "MPI_Allgather");
    for (std::size_t i = 0; i < count; ++i) {
        values[i] = tree_sum_of(0, group.size,
                                [&](std::int64_t rank) { return all[static_cast<std::size_t>(rank) * count + i]; });
    }
}

template <typename T>
void all_gather_parts(const Group::Impl& group, std::span<T> flat) {
    if (!group.begin()) return;
    if (SharedWindow* window = group.window()) {
        all_gather(group, *window, flat);
    } else {
        all_gather(group, flat);
    }
}

}  // namespace

std::string mpi_error_text(int code) {
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) return fmt::format("MPI error {}", code);
    return {text.data(), static_cast<std::size_t>(length)};
}

Group::Impl::Impl(std::string group_name, MPI_Comm handle, Owns owned, Transport how)
    : name(std::move(group_name)), communicator(handle), owns(owned), transport(how) {
    if (communicator == MPI_COMM_NULL) return;
    check(MPI_Comm_rank(communicator, &rank), "MPI_Comm_rank");
    check(MPI_Comm_size(communicator, &size), "MPI_Comm_size");
}

Group::Impl::~Impl() {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (owns == Owns::nothing || finalized != 0) return;
    if (const int code = MPI_Comm_free(&communicator); code != MPI_SUCCESS) {
        monitoring::log_error("group '{}': cannot free its communicator: {}", name, mpi_error_text(code));
    }
}

SharedWindow* Group::Impl::window() const {
    if (!window_decided_ && size > 1 && transport == Transport::automatic) window_ = SharedWindow::make(*this);
    window_decided_ = true;
    return window_.get();
}

bool Group::Impl::begin() const {
    if (size == 1) return false;
    collectives.fetch_add(1, std::memory_order_relaxed);
    return true;
}

void Group::Impl::check(int code, const char* call, int peer) const {
    if (code == MPI_SUCCESS) return;
    const std::string with = peer == kNoPeer ? std::string() : fmt::format(" with rank {}", peer);
    throw CommError("{}{} failed in group '{}' (rank {} of {}): {}", call, with, name, rank, size,
                    mpi_error_text(code));
}

void Group::Impl::check_equal_size(std::size_t count, const char* verb) const {
    const auto mine = static_cast<std::int64_t>(count);
    std::array<std::int64_t, 2> limits = {mine, -mine};
    check(MPI_Allreduce(MPI_IN_PLACE, limits.data(), 2, MPI_INT64_T, MPI_MAX, communicator), "MPI_Allreduce");
    if (limits[0] != -limits[1]) {
        throw CommError("{} in group '{}': expected one size on all ranks, found {} to {} elements ({} on rank {})",
                        verb, name, -limits[1], limits[0], mine, rank);
    }
}

Group::Group(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
Group Group::alone(std::string name) {
    return Group(std::make_shared<const Impl>(std::move(name), MPI_COMM_NULL, Impl::Owns::nothing));
}
const std::string& Group::name() const { return impl_->name; }
int Group::rank() const { return impl_->rank; }
int Group::size() const { return impl_->size; }
std::uint64_t Group::collectives_begun() { return collectives.load(std::memory_order_relaxed); }

bool Group::shares_memory() const { return impl_->window() != nullptr; }

Group Group::split(int color, int key, std::string name, Transport transport) const {
    if (impl_->communicator == MPI_COMM_NULL) return alone(std::move(name));
    MPI_Comm part = MPI_COMM_NULL;
    impl_->check(MPI_Comm_split(impl_->communicator, color, key, &part), "MPI_Comm_split");
    return Group(std::make_shared<const Impl>(std::move(name), part, Impl::Owns::communicator, transport));
}

void Group::barrier() const {
    if (!impl_->begin()) return;
    impl_->check(MPI_Barrier(impl_->communicator), "MPI_Barrier");
}

void Group::reduce_scatter_sum(std::span<float> flat) const {
    if (!impl_->begin()) return;
    if (SharedWindow* window = impl_->window()) {
        worker::reduce_scatter_sum(*impl_, *window, flat);
    } else {
        worker::reduce_scatter_sum(*impl_, flat);
    }
}

void Group::all_gather(std::span<float> flat) const { all_gather_parts(*impl_, flat); }
void Group::all_gather(std::span<double> flat) const { all_gather_parts(*impl_, flat); }

void Group::all_reduce_sum(std::span<double> values) const {
    if (!impl_->begin()) return;
    SharedWindow* window = values.size() >= kFewDoubles ? impl_->window() : nullptr;
    if (window != nullptr) {
        worker::all_reduce_sum(*impl_, *window, values);
    } else {
        all_reduce_few(*impl_, values);
    }
}

void Group::all_reduce_sum(std::span<float> values) const {
    if (!impl_->begin()) return;
    if (SharedWindow* window = impl_->window()) {
        worker::all_reduce_sum(*impl_, *window, values);
    } else {
        worker::reduce_scatter_sum(*impl_, values);
        worker::all_gather(*impl_, values);
    }
}

void Group::all_reduce_sum(std::span<std::uint64_t> values) const {
    all_reduce_integers(*impl_, values.data(), values.size(), MPI_UINT64_T, MPI_SUM);
}

void Group::all_reduce_max(std::span<std::int64_t> values) const {
    all_reduce_integers(*impl_, values.data(), values.size(), MPI_INT64_T, MPI_MAX);
}

void Group::all_reduce_min(std::span<std::int64_t> values) const {
    all_reduce_integers(*impl_, values.data(), values.size(), MPI_INT64_T, MPI_MIN);
}

void Group::broadcast(std::span<std::byte> bytes, int root) const {
    if (!impl_->begin()) return;
    if (SharedWindow* window = impl_->window()) {
        worker::broadcast(*impl_, *window, bytes, root);
    } else {
        worker::broadcast(*impl_, bytes, root);
    }
}

std::vector<std::string> Group::all_gather(const std::string& bytes) const {
    std::vector<std::string> all(static_cast<std::size_t>(size()));
    all[static_cast<std::size_t>(rank())] = bytes;
    std::vector<std::uint64_t> lengths(all.size());
    lengths[static_cast<std::size_t>(rank())] = bytes.size();
    all_reduce_sum(std::span<std::uint64_t>(lengths));
    for (int root = 0; root < size(); ++root) {
        std::string& text = all[static_cast<std::size_t>(root)];
        text.resize(lengths[static_cast<std::size_t>(root)]);
        broadcast(std::as_writable_bytes(std::span<char>(text)), root);
    }
    return all;
}

std::vector<std::string> Group::gather(const std::string& bytes, int root) const {
    constexpr int kTag = 3;
    std::vector<std::uint64_t> lengths(static_cast<std::size_t>(size()));
    lengths[static_cast<std::size_t>(rank())] = bytes.size();
    all_reduce_sum(std::span<std::uint64_t>(lengths));
    if (rank() != root) {
        impl_->check(MPI_Send(bytes.data(), narrow(bytes.size(), *impl_), MPI_BYTE, root, kTag, impl_->communicator),
                     "MPI_Send", root);
        return {};
    }
    std::vector<std::string> all(lengths.size());
    for (int peer = 0; peer < size(); ++peer) {
        std::string& text = all[static_cast<std::size_t>(peer)];
        if (peer == rank()) {
            text = bytes;
            continue;
        }
        text.resize(lengths[static_cast<std::size_t>(peer)]);
        impl_->check(MPI_Recv(text.data(), narrow(text.size(), *impl_), MPI_BYTE, peer, kTag, impl_->communicator,
                              MPI_STATUS_IGNORE),
                     "MPI_Recv", peer);
    }
    return all;
}

}  // namespace kiban::worker
