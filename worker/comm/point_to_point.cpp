// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/point_to_point.h"

#include <algorithm>
#include <atomic>

#include "monitoring/error.h"
#include "worker/comm/pieces.h"

namespace kiban::worker {
namespace {

using checkpoint::Part;

constexpr std::int64_t kPiece = (1 << 20) / sizeof(float);
constexpr int kFirstTag = 16;  // those below are the collective verbs' own; Group::kLastTag leaves room

std::atomic<int> messages_under_way{0};

// One piece at least, so that an empty buffer is a message too.
std::int64_t messages_for(const Part& whole) { return std::max<std::int64_t>(1, pieces_in(whole, kPiece)); }

// A message that is not coming must not be written to a buffer that its owner lets go.
void forget(MPI_Request& request) {
    MPI_Cancel(&request);
    MPI_Wait(&request, MPI_STATUS_IGNORE);
}

}  // namespace

MessagesUnderWay::MessagesUnderWay() { messages_under_way.fetch_add(1, std::memory_order_relaxed); }
MessagesUnderWay::~MessagesUnderWay() { messages_under_way.fetch_sub(1, std::memory_order_relaxed); }
bool MessagesUnderWay::any() { return messages_under_way.load(std::memory_order_relaxed) != 0; }

MessagesOut::MessagesOut(const Group::Impl& group, std::span<const float> values, int to, int tag)
    : group_(group), to_(to) {
    const Part whole{0, static_cast<std::int64_t>(values.size())};
    for (std::int64_t index = 0; index < messages_for(whole); ++index) {
        const Part piece = piece_of(whole, index, kPiece);
        group.check(MPI_Isend(values.data() + piece.begin, static_cast<int>(piece.size()), MPI_FLOAT, to,
                              kFirstTag + tag, group.communicator, &requests_.emplace_back()),
                    "MPI_Isend", to);
    }
}

bool MessagesOut::ended(bool wait) {
    const auto count = static_cast<int>(requests_.size());
    if (wait) {
        group_.check(MPI_Waitall(count, requests_.data(), MPI_STATUSES_IGNORE), "MPI_Waitall", to_);
        return true;
    }
    int all = 0;
    group_.check(MPI_Testall(count, requests_.data(), &all, MPI_STATUSES_IGNORE), "MPI_Testall", to_);
    return all != 0;
}

void receive(const Group::Impl& group, std::span<float> values, int from, int tag) {
    const Part whole{0, static_cast<std::int64_t>(values.size())};
    std::vector<MPI_Request> requests;
    for (std::int64_t index = 0; index < messages_for(whole); ++index) {
        const Part piece = piece_of(whole, index, kPiece);
        group.check(MPI_Irecv(values.data() + piece.begin, static_cast<int>(piece.size()), MPI_FLOAT, from,
                              kFirstTag + tag, group.communicator, &requests.emplace_back()),
                    "MPI_Irecv", from);
    }
    for (std::size_t index = 0; index < requests.size(); ++index) {
        MPI_Status status;
        group.check(MPI_Wait(&requests[index], &status), "MPI_Wait", from);
        int count = 0;
        group.check(MPI_Get_count(&status, MPI_FLOAT, &count), "MPI_Get_count", from);
        const Part piece = piece_of(whole, static_cast<std::int64_t>(index), kPiece);
        if (count == static_cast<int>(piece.size())) continue;
        for (std::size_t rest = index + 1; rest < requests.size(); ++rest) forget(requests[rest]);
        throw CommError("receive in group '{}' from rank {}: expected {} elements, found {}", group.name, from,
                        values.size(), piece.begin + count);
    }
}

}  // namespace kiban::worker
