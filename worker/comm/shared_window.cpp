// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/shared_window.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <limits>
#include <new>

#include "monitoring/error.h"
#include "monitoring/log.h"
#include "worker/comm/point_to_point.h"

namespace kiban::worker {
namespace {

constexpr std::size_t kPage = 4096;

std::vector<MPI_Win>& windows() {
    static std::vector<MPI_Win> all;  // in the order they were made, which ranks of one group share
    return all;
}

// With `alloc_shared_noncontig`, MPI need not put the ranks' memory end to end.
int allocate(const Group::Impl& group, std::size_t bytes, MPI_Win& window) {
    MPI_Info info = MPI_INFO_NULL;
    MPI_Info_create(&info);
    MPI_Info_set(info, "alloc_shared_noncontig", "true");
    void* mine = nullptr;
    const int code = MPI_Win_allocate_shared(static_cast<MPI_Aint>(bytes), 1, info, group.communicator,
                                             static_cast<void*>(&mine), &window);
    MPI_Info_free(&info);
    return code;
}

// The first whole page: MPI aligns less, but maps whole pages, so that it is the same one in every process.
std::byte* base_of(const Group::Impl& group, MPI_Win window, int rank) {
    MPI_Aint bytes = 0;
    int unit = 0;
    void* base = nullptr;
    group.check(MPI_Win_shared_query(window, rank, &bytes, &unit, static_cast<void*>(&base)), "MPI_Win_shared_query",
                rank);
    std::size_t room = static_cast<std::size_t>(bytes);
    return static_cast<std::byte*>(std::align(kPage, room - kPage, base, room));
}

}  // namespace

struct SharedWindow::Desk {
    SharedCounter published;
    SharedCounter result;
    SharedCounter left;
    std::array<std::uint64_t, kSlots> counts{};  // of the call, beside each slot
};

std::unique_ptr<SharedWindow> SharedWindow::make(const Group::Impl& group, std::uint64_t first_round) {
    static_assert(sizeof(Desk) <= kPage);
    constexpr std::size_t kBytes = kPage + kSlots * kSlotBytes;
    MPI_Win window = MPI_WIN_NULL;
    const int code = allocate(group, kBytes + kPage, window);
    int everywhere = code == MPI_SUCCESS ? 1 : 0;
    group.check(MPI_Allreduce(MPI_IN_PLACE, &everywhere, 1, MPI_INT, MPI_MIN, group.communicator), "MPI_Allreduce");
    if (everywhere == 0) {
        monitoring::log_warning("group '{}': no shared memory on this node, messages instead: {}", group.name,
                                code == MPI_SUCCESS ? "refused to another rank" : mpi_error_text(code));
        return nullptr;
    }
    windows().push_back(window);
    std::vector<std::byte*> bases;
    for (int rank = 0; rank < group.size; ++rank) bases.push_back(base_of(group, window, rank));
    std::byte* mine = bases[static_cast<std::size_t>(group.rank)];
    std::memset(mine, 0, kBytes);  // also brings every page in
    Desk* own = new (mine) Desk;
    for (SharedCounter* counter : {&own->published, &own->result, &own->left}) counter->raise(low(first_round));
    group.check(MPI_Barrier(group.communicator), "MPI_Barrier");  // no desk is read before it is there
    return std::unique_ptr<SharedWindow>(new SharedWindow(group, std::move(bases), first_round));
}

void SharedWindow::free_all() {
    for (MPI_Win& window : windows()) {
        if (const int code = MPI_Win_free(&window); code != MPI_SUCCESS)
            monitoring::log_error("cannot free a shared window: {}", mpi_error_text(code));
    }
    windows().clear();
}

SharedWindow::SharedWindow(const Group::Impl& group, std::vector<std::byte*> bases, std::uint64_t first_round)
    : group_(group), bases_(std::move(bases)), first_(first_round), next_(first_round) {}

SharedWindow::Desk& SharedWindow::desk(int rank) const {
    return *std::launder(reinterpret_cast<Desk*>(bases_[static_cast<std::size_t>(rank)]));
}

std::byte* SharedWindow::slot(int rank, std::int64_t round) const {
    return bases_[static_cast<std::size_t>(rank)] + kPage + (number(round) % kSlots) * kSlotBytes;
}

void SharedWindow::wait(SharedCounter& counter, std::uint32_t value) const {
    counter.wait(value, [this] {  // MPI moves only while it is called, and a peer may still wait for an earlier message
        int flag = 0;
        group_.check(MPI_Iprobe(MPI_ANY_SOURCE, MPI_ANY_TAG, group_.communicator, &flag, MPI_STATUS_IGNORE),
                     "MPI_Iprobe");
        return !MessagesUnderWay::any();
    });
}

// Counters hold how many rounds have been published or left, so round k waits for k + 1.
void SharedWindow::open(std::int64_t round, std::size_t count) {
    const std::uint64_t now = number(round);
    for (int rank = 0; rank < group_.size; ++rank) {
        if (rank != group_.rank) wait(desk(rank).left, low(now + 1 - kSlots));
    }
    desk(group_.rank).counts[now % kSlots] = count;
}

void SharedWindow::publish(std::int64_t round) { desk(group_.rank).published.raise(low(number(round) + 1)); }
void SharedWindow::publish_result(std::int64_t round) { desk(group_.rank).result.raise(low(number(round) + 1)); }
void SharedWindow::await_published(std::int64_t round, int rank) const {
    wait(desk(rank).published, low(number(round) + 1));
}
void SharedWindow::await_result(std::int64_t round, int rank) const { wait(desk(rank).result, low(number(round) + 1)); }

void SharedWindow::leave(std::int64_t round) {
    next_ = number(round) + 1;
    desk(group_.rank).result.raise(low(next_));  // keeps up where a verb has none
    desk(group_.rank).left.raise(low(next_));
}

void SharedWindow::check_counts(const char* verb) {
    const std::uint64_t mine = desk(group_.rank).counts[first_ % kSlots];
    std::uint64_t least = mine;
    std::uint64_t most = mine;
    for (int rank = 0; rank < group_.size; ++rank) {
        await_published(0, rank);
        const std::uint64_t count = desk(rank).counts[first_ % kSlots];
        least = std::min(least, count);
        most = std::max(most, count);
    }
    if (least == most) return;
    leave(0);
    throw CommError("{} in group '{}': expected one size on all ranks, found {} to {} elements ({} on rank {})", verb,
                    group_.name, least, most, mine, group_.rank);
}

}  // namespace kiban::worker
