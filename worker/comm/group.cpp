// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/group.h"

#include <array>
#include <atomic>
#include <utility>

#include "monitoring/error.h"
#include "monitoring/log.h"
#include "worker/comm/mpi_group.h"
#include "worker/comm/nodes.h"
#include "worker/comm/staged_verbs.h"
#include "worker/comm/submit.h"

namespace kiban::worker {
namespace {

std::atomic<std::uint64_t> collectives{0};

using ImplPointer = std::shared_ptr<const Group::Impl>;

// Where a verb of more than one rank runs; that of one rank is the identity.
template <typename Verb>
void together(const ImplPointer& group, const Verb& verb) {
    if (group->size > 1) in_turn([&] { verb(*group); });
}

template <typename Verb>
Handle start(const ImplPointer& group, const Verb& verb) {
    if (group->size == 1) return {};
    return submit({[group, verb] { verb(*group); }});
}

void free_communicator(MPI_Comm communicator, const std::string& group) {
    int finalized = 0;
    MPI_Finalized(&finalized);
    if (finalized != 0) return;
    if (const int code = MPI_Comm_free(&communicator); code != MPI_SUCCESS)
        monitoring::log_error("group '{}': cannot free its communicator: {}", group, mpi_error_text(code));
}

}  // namespace

std::string mpi_error_text(int code) {
    std::array<char, MPI_MAX_ERROR_STRING> text{};
    int length = 0;
    if (MPI_Error_string(code, text.data(), &length) != MPI_SUCCESS) return fmt::format("MPI error {}", code);
    return {text.data(), static_cast<std::size_t>(length)};
}

Group::Impl::Impl(std::string group_name, MPI_Comm handle, Owns owned, Transport how)
    : name(std::move(group_name)), communicator(handle), owns(owned), transport(how), cells(traffic_of(name)) {
    if (communicator == MPI_COMM_NULL) return;
    check(MPI_Comm_rank(communicator, &rank), "MPI_Comm_rank");
    check(MPI_Comm_size(communicator, &size), "MPI_Comm_size");
}

Group::Impl::~Impl() {
    if (owns == Owns::nothing) return;
    submit_and_forget([handle = communicator, text = name] { free_communicator(handle, text); });
}

const Routes& Group::Impl::routes() const {
    if (!routes_) {
        const bool chooses = size > 1 && transport == Transport::automatic;
        routes_ = std::make_unique<Routes>(chooses ? routes_of(*this) : Routes{});
    }
    return *routes_;
}

SharedWindow* Group::Impl::window() const { return routes().window.get(); }
const NodeGroups* Group::Impl::nodes() const { return routes().nodes.get(); }

void Group::Impl::begin() const { collectives.fetch_add(1, std::memory_order_relaxed); }

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

Group Group::split(int color, int key, std::string name, Transport transport) const {
    if (impl_->communicator == MPI_COMM_NULL) return alone(std::move(name));
    ImplPointer made;
    in_turn([&] {
        MPI_Comm part = MPI_COMM_NULL;
        impl_->check(MPI_Comm_split(impl_->communicator, color, key, &part), "MPI_Comm_split");
        made = std::make_shared<const Impl>(std::move(name), part, Impl::Owns::communicator, transport);
    });
    return Group(std::move(made));
}

bool Group::shares_memory() const {
    bool shares = false;
    together(impl_, [&](const Impl& group) { shares = group.window() != nullptr; });
    return shares;
}

bool Group::goes_by_node() const {
    bool by_node = false;
    together(impl_, [&](const Impl& group) { by_node = group.nodes() != nullptr; });
    return by_node;
}

void Group::barrier() const { together(impl_, verbs::barrier); }

void Group::all_reduce_sum(std::span<double> values) const {
    together(impl_, [=](const Impl& group) { verbs::all_reduce_sum(group, values); });
}

void Group::all_reduce_sum(std::span<float> values) const {
    together(impl_, [=](const Impl& group) { staged::all_reduce_sum(group, values); });
}

void Group::all_reduce_sum(std::span<std::uint64_t> values) const {
    together(impl_, [=](const Impl& group) { verbs::all_reduce_sum(group, values); });
}

void Group::all_reduce_max(std::span<std::int64_t> values) const {
    together(impl_, [=](const Impl& group) { verbs::all_reduce_max(group, values); });
}

void Group::all_reduce_min(std::span<std::int64_t> values) const {
    together(impl_, [=](const Impl& group) { verbs::all_reduce_min(group, values); });
}

void Group::reduce_scatter_sum(std::span<float> flat) const {
    together(impl_, [=](const Impl& group) { staged::reduce_scatter_sum(group, flat); });
}

void Group::all_gather(std::span<float> flat) const {
    together(impl_, [=](const Impl& group) { staged::all_gather(group, flat); });
}

void Group::all_gather(std::span<double> flat) const {
    together(impl_, [=](const Impl& group) { verbs::all_gather(group, flat); });
}

void Group::broadcast(std::span<std::byte> bytes, int root) const {
    together(impl_, [=](const Impl& group) { verbs::broadcast(group, bytes, root); });
}

std::vector<std::string> Group::all_gather(const std::string& bytes) const {
    std::vector<std::string> all = {bytes};
    together(impl_, [&](const Impl& group) { all = verbs::all_gather(group, bytes); });
    return all;
}

std::vector<std::string> Group::gather(const std::string& bytes, int root) const {
    std::vector<std::string> all = {bytes};
    together(impl_, [&](const Impl& group) { all = verbs::gather(group, bytes, root); });
    return all;
}

void Group::send(std::span<const float> values, int to, int tag) const {
    check_peer(to, tag);
    together(impl_, [=](const Impl& group) { staged::send(group, values, to, tag); });
}

void Group::receive(std::span<float> values, int from, int tag) const {
    check_peer(from, tag);
    together(impl_, [=](const Impl& group) { staged::receive(group, values, from, tag); });
}

Handle Group::start_send(std::span<const float> values, int to, int tag) const {
    check_peer(to, tag);
    auto messages = std::make_shared<staged::Sending>();
    return submit(
        {[group = impl_, messages, values, to, tag] { *messages = staged::start_send(*group, values, to, tag); },
         [group = impl_, messages](bool wait) { return messages->messages->ended(wait); }});
}

Handle Group::start_reduce_scatter_sum(std::span<float> flat) const {
    return start(impl_, [=](const Impl& group) { staged::reduce_scatter_sum(group, flat); });
}

Handle Group::start_all_gather(std::span<float> flat) const {
    return start(impl_, [=](const Impl& group) { staged::all_gather(group, flat); });
}

Handle Group::start_all_reduce_sum(std::span<float> values) const {
    return start(impl_, [=](const Impl& group) { staged::all_reduce_sum(group, values); });
}

void Group::check_peer(int peer, int tag) const {
    KIBAN_CHECK(peer >= 0 && peer < size() && peer != rank(), "a message in group '{}' between ranks {} and {} of {}",
                name(), rank(), peer, size());
    KIBAN_CHECK(tag >= 0 && tag <= kLastTag, "a message in group '{}' with tag {}: expected 0 to {}", name(), tag,
                kLastTag);
}

}  // namespace kiban::worker
