// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/shared_exchange.h"

#include <algorithm>
#include <cstring>
#include <vector>

#include "checkpoint/placement.h"
#include "monitoring/error.h"
#include "worker/comm/pieces.h"
#include "worker/comm/tree_sum.h"

namespace kiban::worker::shared {
namespace {

using checkpoint::Part;
using checkpoint::part_of;

template <typename T>
void copy(const T* from, std::int64_t count, T* to) {
    if (count > 0) std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
}

// What one verb sees of a window: slots of Ts, and the ranks in the order in which this one visits them.
template <typename T>
class Exchange {
  public:
    static constexpr std::int64_t kSlotCount = SharedWindow::kSlotBytes / sizeof(T);

    Exchange(const Group::Impl& group, SharedWindow& window, std::span<T> flat)
        : group_(group), window_(window), flat_(flat), terms_(static_cast<std::size_t>(group.size)) {}

    std::int64_t size() const { return static_cast<std::int64_t>(flat_.size()); }
    Part part(int rank) const { return part_of(size(), rank, group_.size); }
    int own() const { return group_.rank; }
    T* flat(std::int64_t begin) const { return flat_.data() + begin; }
    T* slot(int rank, std::int64_t round) const { return reinterpret_cast<T*>(window_.slot(rank, round)); }

    // From the next rank on, so that not all read the same one.
    template <typename Visit>
    void each_other(const Visit& visit) const {
        for (int distance = 1; distance < group_.size; ++distance) visit((group_.rank + distance) % group_.size);
    }

    // flat[begin ...] becomes its sum over ranks; the others' terms lie `place` elements into their slots.
    void sum(std::int64_t round, std::int64_t place, std::int64_t begin, std::int64_t count) {
        each_other([&](int rank) {
            window_.await_published(round, rank);
            terms_[static_cast<std::size_t>(rank)] = slot(rank, round) + place;
        });
        terms_[static_cast<std::size_t>(own())] = flat(begin);
        tree_sum(terms_, flat(begin), count);
    }

  private:
    const Group::Impl& group_;
    SharedWindow& window_;
    std::span<T> flat_;
    std::vector<const T*> terms_;
};

}  // namespace

// A slot has a place for each rank, which holds a piece of that rank's part.
void reduce_scatter_sum(const Group::Impl& group, SharedWindow& window, std::span<float> flat) {
    Exchange<float> exchange(group, window, flat);
    const std::int64_t piece = exchange.kSlotCount / group.size;
    const auto stage = [&](std::int64_t round) {
        exchange.each_other([&](int rank) {
            const Part theirs = piece_of(exchange.part(rank), round, piece);
            copy(exchange.flat(theirs.begin), theirs.size(), exchange.slot(group.rank, round) + rank * piece);
        });
    };
    const auto consume = [&](std::int64_t round) {
        const Part mine = piece_of(exchange.part(group.rank), round, piece);
        exchange.sum(round, group.rank * piece, mine.begin, mine.size());
    };
    window.run(flat.size(), "reduce_scatter_sum", pieces_in(exchange.part(0), piece), stage, consume);
}

// A slot mirrors a piece of the buffer. Each rank sums its part of the piece, and its sum takes the place that its own
// term, which nobody else needs, has left free.
template <typename T>
void all_reduce_sum(const Group::Impl& group, SharedWindow& window, std::span<T> flat) {
    Exchange<T> exchange(group, window, flat);
    const Part whole{0, exchange.size()};
    const auto piece = [&](std::int64_t round) { return piece_of(whole, round, exchange.kSlotCount); };
    const auto stage = [&](std::int64_t round) {
        const Part all = piece(round);
        const Part mine = part_of(all.size(), group.rank, group.size);
        T* slot = exchange.slot(group.rank, round);
        copy(exchange.flat(all.begin), mine.begin, slot);
        copy(exchange.flat(all.begin + mine.end), all.size() - mine.end, slot + mine.end);
    };
    const auto consume = [&](std::int64_t round) {
        const Part all = piece(round);
        const Part mine = part_of(all.size(), group.rank, group.size);
        exchange.sum(round, mine.begin, all.begin + mine.begin, mine.size());
        copy(exchange.flat(all.begin + mine.begin), mine.size(), exchange.slot(group.rank, round) + mine.begin);
        window.publish_result(round);
        exchange.each_other([&](int rank) {
            const Part theirs = part_of(all.size(), rank, group.size);
            window.await_result(round, rank);
            copy(exchange.slot(rank, round) + theirs.begin, theirs.size(), exchange.flat(all.begin + theirs.begin));
        });
    };
    window.run(flat.size(), "all_reduce_sum", pieces_in(whole, exchange.kSlotCount), stage, consume);
}

template <typename T>
void all_gather(const Group::Impl& group, SharedWindow& window, std::span<T> flat) {
    Exchange<T> exchange(group, window, flat);
    const auto piece = [&](int rank, std::int64_t round) {
        return piece_of(exchange.part(rank), round, exchange.kSlotCount);
    };
    const auto stage = [&](std::int64_t round) {
        const Part mine = piece(group.rank, round);
        copy(exchange.flat(mine.begin), mine.size(), exchange.slot(group.rank, round));
    };
    const auto consume = [&](std::int64_t round) {
        exchange.each_other([&](int rank) {
            const Part theirs = piece(rank, round);
            window.await_published(round, rank);
            copy(exchange.slot(rank, round), theirs.size(), exchange.flat(theirs.begin));
        });
    };
    window.run(flat.size(), "all_gather", pieces_in(exchange.part(0), exchange.kSlotCount), stage, consume);
}

void broadcast(const Group::Impl& group, SharedWindow& window, std::span<std::byte> bytes, int root) {
    KIBAN_CHECK(root >= 0 && root < group.size, "broadcast in group '{}': root {} of {} ranks", group.name, root,
                group.size);
    Exchange<std::byte> exchange(group, window, bytes);
    const Part whole{0, exchange.size()};
    const auto stage = [&](std::int64_t round) {
        if (group.rank != root) return;
        const Part piece = piece_of(whole, round, exchange.kSlotCount);
        copy(exchange.flat(piece.begin), piece.size(), exchange.slot(root, round));
    };
    const auto consume = [&](std::int64_t round) {
        if (group.rank == root) return;
        const Part piece = piece_of(whole, round, exchange.kSlotCount);
        window.await_published(round, root);
        copy(exchange.slot(root, round), piece.size(), exchange.flat(piece.begin));
    };
    window.run(bytes.size(), "broadcast", pieces_in(whole, exchange.kSlotCount), stage, consume);
}

template void all_reduce_sum(const Group::Impl&, SharedWindow&, std::span<float>);
template void all_reduce_sum(const Group::Impl&, SharedWindow&, std::span<double>);
template void all_gather(const Group::Impl&, SharedWindow&, std::span<float>);
template void all_gather(const Group::Impl&, SharedWindow&, std::span<double>);

}  // namespace kiban::worker::shared
