// SPDX-License-Identifier: Apache-2.0
// Exchanges of pieces between pairs of ranks. MPI's own large reductions are slower by two to three times, and may
// choose another order of summation from call to call.
#include "worker/comm/flat_exchange.h"

#include <algorithm>
#include <array>
#include <vector>

#include "checkpoint/placement.h"
#include "worker/comm/pieces.h"
#include "worker/comm/tree_sum.h"

namespace kiban::worker::messages {
namespace {

using checkpoint::Part;
using checkpoint::part_of;

constexpr int kReduceTag = 1;
constexpr int kGatherTag = 2;
constexpr std::int64_t kPieceBytes = 1 << 20;
constexpr std::int64_t kReceiveBytes = 64 << 20;  // of all receive buffers together, whatever the number of ranks

// Sends each rank its part, piece by piece, and sums the own part as its pieces come in. Piece i + 1 travels while
// piece i is summed.
class ReduceScatter {
  public:
    ReduceScatter(const Group::Impl& group, std::span<float> flat)
        : group_(group),
          flat_(flat),
          own_(part(group.rank)),
          piece_(piece_floats(group.size)),
          terms_(static_cast<std::size_t>(group.size)) {
        for (Slot& turn : slots_)
            turn.received.resize(static_cast<std::size_t>(group.size * std::min(piece_, own_.size())));
    }

    void run() {
        const std::int64_t pieces = pieces_in(part(0), piece_);  // the first part is the largest
        if (pieces > 0) post(0);
        for (std::int64_t index = 0; index < pieces; ++index) {
            if (index + 1 < pieces) post(index + 1);
            wait(index);
            sum(piece_of(own_, index, piece_), slot(index).received.data());
        }
    }

  private:
    struct Slot {
        std::vector<MPI_Request> requests;
        std::vector<float> received;  // one piece of the own part from each rank; the own place stays unused
    };

    static std::int64_t piece_floats(int ranks) {
        const std::int64_t share = kReceiveBytes / (2 * ranks);
        return std::max<std::int64_t>(4096, std::min(kPieceBytes, share)) / static_cast<std::int64_t>(sizeof(float));
    }

    Slot& slot(std::int64_t index) { return slots_[static_cast<std::size_t>(index % 2)]; }

    Part part(int rank) const { return part_of(static_cast<std::int64_t>(flat_.size()), rank, group_.size); }

    void post(std::int64_t index) {
        Slot& turn = slot(index);
        turn.requests.clear();
        const Part mine = piece_of(own_, index, piece_);
        for (int distance = 1; distance < group_.size; ++distance) {
            const int from = (group_.rank - distance + group_.size) % group_.size;
            const int to = (group_.rank + distance) % group_.size;
            if (mine.size() > 0) {
                group_.check(MPI_Irecv(turn.received.data() + from * mine.size(), static_cast<int>(mine.size()),
                                       MPI_FLOAT, from, kReduceTag, group_.communicator, &turn.requests.emplace_back()),
                             "MPI_Irecv", from);
            }
            const Part theirs = piece_of(part(to), index, piece_);
            if (theirs.size() > 0) {
                group_.check(MPI_Isend(flat_.data() + theirs.begin, static_cast<int>(theirs.size()), MPI_FLOAT, to,
                                       kReduceTag, group_.communicator, &turn.requests.emplace_back()),
                             "MPI_Isend", to);
            }
        }
    }

    void wait(std::int64_t index) {
        std::vector<MPI_Request>& requests = slot(index).requests;
        group_.check(MPI_Waitall(static_cast<int>(requests.size()), requests.data(), MPI_STATUSES_IGNORE),
                     "MPI_Waitall");
    }

    void sum(const Part& range, const float* received) {
        for (int rank = 0; rank < group_.size; ++rank) {
            terms_[static_cast<std::size_t>(rank)] =
                rank == group_.rank ? flat_.data() + range.begin : received + rank * range.size();
        }
        tree_sum(terms_, flat_.data() + range.begin, range.size());
    }

    const Group::Impl& group_;
    std::span<float> flat_;
    Part own_;
    std::int64_t piece_;
    std::array<Slot, 2> slots_;
    std::vector<const float*> terms_;
};

template <typename T>
MPI_Datatype mpi_type() {
    if constexpr (sizeof(T) == sizeof(float)) {
        return MPI_FLOAT;
    } else {
        return MPI_DOUBLE;
    }
}

}  // namespace

void reduce_scatter_sum(const Group::Impl& group, std::span<float> flat) {
    group.check_equal_size(flat.size(), "reduce_scatter_sum");
    ReduceScatter(group, flat).run();
}

// At distance d every rank sends its own part to the rank d further on and receives that of the rank d before it.
template <typename T>
void all_gather(const Group::Impl& group, std::span<T> flat) {
    group.check_equal_size(flat.size(), "all_gather");
    constexpr std::int64_t kPiece = kPieceBytes / static_cast<std::int64_t>(sizeof(T));
    const auto part = [&](int rank) { return part_of(static_cast<std::int64_t>(flat.size()), rank, group.size); };
    const Part mine = part(group.rank);
    const std::int64_t pieces = pieces_in(part(0), kPiece);
    for (int distance = 1; distance < group.size; ++distance) {
        const int from = (group.rank - distance + group.size) % group.size;
        const int to = (group.rank + distance) % group.size;
        for (std::int64_t index = 0; index < pieces; ++index) {
            const Part out = piece_of(mine, index, kPiece);
            const Part in = piece_of(part(from), index, kPiece);
            group.check(MPI_Sendrecv(flat.data() + out.begin, static_cast<int>(out.size()), mpi_type<T>(), to,
                                     kGatherTag, flat.data() + in.begin, static_cast<int>(in.size()), mpi_type<T>(),
                                     from, kGatherTag, group.communicator, MPI_STATUS_IGNORE),
                        "MPI_Sendrecv", from);
        }
    }
}

void broadcast(const Group::Impl& group, std::span<std::byte> bytes, int root) {
    group.check_equal_size(bytes.size(), "broadcast");
    const Part whole{0, static_cast<std::int64_t>(bytes.size())};
    for (std::int64_t index = 0; index < pieces_in(whole, kPieceBytes); ++index) {
        const Part piece = piece_of(whole, index, kPieceBytes);
        group.check(
            MPI_Bcast(bytes.data() + piece.begin, static_cast<int>(piece.size()), MPI_BYTE, root, group.communicator),
            "MPI_Bcast", root);
    }
}

template void all_gather(const Group::Impl&, std::span<float>);
template void all_gather(const Group::Impl&, std::span<double>);

}  // namespace kiban::worker::messages
