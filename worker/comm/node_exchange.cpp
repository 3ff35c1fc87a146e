// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/node_exchange.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <deque>
#include <optional>
#include <vector>

#include "checkpoint/placement.h"
#include "monitoring/error.h"
#include "worker/comm/pieces.h"
#include "worker/comm/point_to_point.h"
#include "worker/comm/tree_sum.h"

namespace kiban::worker::by_node {
namespace {

using checkpoint::Part;
using checkpoint::part_of;

constexpr int kReduceTag = 1;
constexpr int kGatherTag = 2;
constexpr std::int64_t kBufferBytes = 64 << 20;  // of all pieces on their way to and from one rank, in a sum

template <typename T>
void copy(const T* from, std::int64_t count, T* to) {
    if (count > 0) std::memcpy(to, from, static_cast<std::size_t>(count) * sizeof(T));
}

// Messages between the ranks of one number, that are waited for together.
class Messages {
  public:
    explicit Messages(const Group::Impl& across) : across_(across) {}

    template <typename T>
    void send(const T* values, std::int64_t count, int to, int tag) {
        if (count == 0) return;
        across_.check(MPI_Isend(values, bytes(count, sizeof(T)), MPI_BYTE, to, tag, across_.communicator, next()),
                      "MPI_Isend", to);
    }
    template <typename T>
    void receive(T* values, std::int64_t count, int from, int tag) {
        if (count == 0) return;
        across_.check(MPI_Irecv(values, bytes(count, sizeof(T)), MPI_BYTE, from, tag, across_.communicator, next()),
                      "MPI_Irecv", from);
    }
    void wait() {
        across_.check(MPI_Waitall(static_cast<int>(requests_.size()), requests_.data(), MPI_STATUSES_IGNORE),
                      "MPI_Waitall");
        requests_.clear();
        under_way_.reset();
    }

  private:
    static int bytes(std::int64_t count, std::size_t element) {
        return static_cast<int>(count) * static_cast<int>(element);
    }
    MPI_Request* next() {
        if (!under_way_) under_way_.emplace();
        return &requests_.emplace_back();
    }

    const Group::Impl& across_;
    std::vector<MPI_Request> requests_;
    std::optional<MessagesUnderWay> under_way_;  // while there are any
};

// A buffer of the group, seen from one rank: its node, its number on it, and the parts of others by both.
template <typename T>
class View {
  public:
    static constexpr std::int64_t kSlotCount = SharedWindow::kSlotBytes / sizeof(T);

    View(const Group::Impl& group, const NodeGroups& nodes, std::span<T> flat)
        : nodes_(nodes), flat_(flat), ranks_(group.size) {
        KIBAN_CHECK(group.rank == node() * each() + number(),
                    "rank {} of group '{}' is number {} on node {} of {} each", group.rank, group.name, number(),
                    node(), each());
    }

    int nodes() const { return nodes_.across.size; }
    int node() const { return nodes_.across.rank; }
    int each() const { return nodes_.inside.size; }
    int number() const { return nodes_.inside.rank; }
    SharedWindow& window() const { return *nodes_.window; }

    Part piece(int at_node, int at_number, std::int64_t index, std::int64_t size) const {
        return piece_of(part_of(count(), at_node * each() + at_number, ranks_), index, size);
    }
    std::int64_t pieces(std::int64_t size) const { return pieces_in(part_of(count(), 0, ranks_), size); }  // the most
    std::int64_t count() const { return static_cast<std::int64_t>(flat_.size()); }
    T* flat(std::int64_t begin) const { return flat_.data() + begin; }
    T* slot(int at_number, std::int64_t round) const { return reinterpret_cast<T*>(window().slot(at_number, round)); }

    template <typename Visit>
    void each_mate(const Visit& visit) const {
        for (int distance = 1; distance < each(); ++distance) visit((number() + distance) % each());
    }
    template <typename Visit>
    void each_other_node(const Visit& visit) const {
        for (int distance = 1; distance < nodes(); ++distance) visit((node() + distance) % nodes());
    }

  private:
    const NodeGroups& nodes_;
    std::span<T> flat_;
    int ranks_;
};

// Piece k of every part takes n rounds of the window, one for the parts of each node, the own last. A round sums over
// the node; the sums for another node's rank of the own number travel there while the rounds of the next piece go on,
// and then the own piece's sums over nodes are taken.
template <typename T>
class ReduceScatter {
  public:
    ReduceScatter(const Group::Impl& group, const NodeGroups& nodes, std::span<T> flat)
        : view_(group, nodes, flat),
          piece_(piece_size()),
          slots_{Slot(nodes.across), Slot(nodes.across)},
          inside_(static_cast<std::size_t>(view_.each())),
          across_(static_cast<std::size_t>(view_.nodes())) {
        const std::int64_t longest = std::min(piece_, view_.piece(0, 0, 0, piece_).size());
        for (Slot& slot : slots_) {
            slot.out.resize(static_cast<std::size_t>(longest * view_.nodes()));
            slot.in.resize(slot.out.size());
        }
    }

    void run() {
        const std::int64_t pieces = view_.pieces(piece_);
        view_.window().run(
            static_cast<std::size_t>(view_.count()), "reduce_scatter_sum", pieces * view_.nodes(),
            [this](std::int64_t round) { stage(round); }, [this](std::int64_t round) { consume(round); });
        if (pieces > 0) finish(pieces - 1);
    }

  private:
    struct Slot {
        explicit Slot(const Group::Impl& across) : messages(across) {}
        Messages messages;
        std::vector<T> out;  // sums over this node, by node that they are for
        std::vector<T> in;   // sums over the other nodes
    };

    std::int64_t piece_size() const {
        const std::int64_t buffers = kBufferBytes / static_cast<std::int64_t>(sizeof(T)) / (4 * view_.nodes());
        return std::max<std::int64_t>(1, std::min(View<T>::kSlotCount / view_.each(), buffers));
    }

    Slot& slot(std::int64_t index) { return slots_[static_cast<std::size_t>(index % 2)]; }
    std::int64_t index_of(std::int64_t round) const { return round / view_.nodes(); }
    int turn_of(std::int64_t round) const { return static_cast<int>(round % view_.nodes()); }
    int node_of(std::int64_t round) const { return (view_.node() + 1 + turn_of(round)) % view_.nodes(); }

    void stage(std::int64_t round) {
        view_.each_mate([&](int mate) {
            const Part theirs = view_.piece(node_of(round), mate, index_of(round), piece_);
            copy(view_.flat(theirs.begin), theirs.size(), view_.slot(view_.number(), round) + mate * piece_);
        });
    }

    void consume(std::int64_t round) {
        const std::int64_t index = index_of(round);
        const int node = node_of(round);
        if (turn_of(round) == 0) expect(index);
        const Part range = view_.piece(node, view_.number(), index, piece_);
        if (node == view_.node()) {
            sum_inside(round, range, view_.flat(range.begin));
            if (index > 0) finish(index - 1);
            return;
        }
        T* sums = slot(index).out.data() + node * piece_here(index);
        sum_inside(round, range, sums);
        slot(index).messages.send(sums, range.size(), node, kReduceTag);
    }

    // Room for a piece in the slots: that of the first part, which is the largest.
    std::int64_t piece_here(std::int64_t index) const { return view_.piece(0, 0, index, piece_).size(); }

    void expect(std::int64_t index) {
        const Part mine = view_.piece(view_.node(), view_.number(), index, piece_);
        view_.each_other_node([&](int node) {
            slot(index).messages.receive(slot(index).in.data() + node * piece_here(index), mine.size(), node,
                                         kReduceTag);
        });
    }

    void sum_inside(std::int64_t round, const Part& range, T* sums) {
        view_.each_mate([&](int mate) {
            view_.window().await_published(round, mate);
            inside_[static_cast<std::size_t>(mate)] = view_.slot(mate, round) + view_.number() * piece_;
        });
        inside_[static_cast<std::size_t>(view_.number())] = view_.flat(range.begin);
        tree_sum(inside_, sums, range.size());
    }

    void finish(std::int64_t index) {
        slot(index).messages.wait();
        const Part mine = view_.piece(view_.node(), view_.number(), index, piece_);
        for (int node = 0; node < view_.nodes(); ++node)
            across_[static_cast<std::size_t>(node)] = slot(index).in.data() + node * piece_here(index);
        across_[static_cast<std::size_t>(view_.node())] = view_.flat(mine.begin);
        tree_sum(across_, view_.flat(mine.begin), mine.size());
    }

    View<T> view_;
    std::int64_t piece_;
    std::array<Slot, 2> slots_;
    std::vector<const T*> inside_;  // terms of a sum over the node
    std::vector<const T*> across_;  // and over nodes
};

// Piece k of every part takes n rounds of the window, one for the parts of each node, the own first. What the ranks of
// the own number hold comes straight into the buffer, a piece ahead of the rounds.
template <typename T>
class AllGather {
  public:
    AllGather(const Group::Impl& group, const NodeGroups& nodes, std::span<T> flat)
        : view_(group, nodes, flat), sent_(nodes.across) {
        for (std::deque<Messages>& coming : coming_)
            for (int node = 0; node < view_.nodes(); ++node) coming.emplace_back(nodes.across);
    }

    void run() {
        if (pieces() > 0) exchange(0);
        view_.window().run(
            static_cast<std::size_t>(view_.count()), "all_gather", pieces() * view_.nodes(),
            [this](std::int64_t round) { stage(round); }, [this](std::int64_t round) { consume(round); });
        sent_.wait();
    }

  private:
    static constexpr std::int64_t kPiece = View<T>::kSlotCount;

    std::int64_t pieces() const { return view_.pieces(kPiece); }
    int turn_of(std::int64_t round) const { return static_cast<int>(round % view_.nodes()); }
    Messages& coming(std::int64_t index, int node) {
        return coming_[static_cast<std::size_t>(index % 2)][static_cast<std::size_t>(node)];
    }
    Part piece(int number, std::int64_t round) const {
        return view_.piece((view_.node() + turn_of(round)) % view_.nodes(), number, round / view_.nodes(), kPiece);
    }

    void exchange(std::int64_t index) {
        const Part mine = view_.piece(view_.node(), view_.number(), index, kPiece);
        view_.each_other_node([&](int node) {
            const Part theirs = view_.piece(node, view_.number(), index, kPiece);
            coming(index, node).receive(view_.flat(theirs.begin), theirs.size(), node, kGatherTag);
            sent_.send(view_.flat(mine.begin), mine.size(), node, kGatherTag);
        });
    }

    void stage(std::int64_t round) {
        const std::int64_t index = round / view_.nodes();
        if (turn_of(round) == 0 && index + 1 < pieces()) exchange(index + 1);
        coming(index, (view_.node() + turn_of(round)) % view_.nodes()).wait();  // nothing, of the own node
        const Part mine = piece(view_.number(), round);
        copy(view_.flat(mine.begin), mine.size(), view_.slot(view_.number(), round));
    }

    void consume(std::int64_t round) {
        view_.each_mate([&](int mate) {
            const Part theirs = piece(mate, round);
            view_.window().await_published(round, mate);
            copy(view_.slot(mate, round), theirs.size(), view_.flat(theirs.begin));
        });
    }

    View<T> view_;
    Messages sent_;
    std::array<std::deque<Messages>, 2> coming_;  // by node
};

}  // namespace

template <typename T>
void reduce_scatter_sum(const Group::Impl& group, const NodeGroups& nodes, std::span<T> flat) {
    KIBAN_CHECK(nodes.sums_in_tree, "sum by node in group '{}' over {} nodes", group.name, nodes.across.size);
    group.check_equal_size(flat.size(), "reduce_scatter_sum");
    ReduceScatter<T>(group, nodes, flat).run();
}

template <typename T>
void all_gather(const Group::Impl& group, const NodeGroups& nodes, std::span<T> flat) {
    group.check_equal_size(flat.size(), "all_gather");
    AllGather<T>(group, nodes, flat).run();
}

// From the root to the ranks of its number, and from these to their nodes.
void broadcast(const Group::Impl& group, const NodeGroups& nodes, std::span<std::byte> bytes, int root) {
    group.check_equal_size(bytes.size(), "broadcast");
    const View<std::byte> view(group, nodes, bytes);
    const Part whole{0, view.count()};
    const int number = root % view.each();
    const auto piece = [&](std::int64_t round) { return piece_of(whole, round, view.kSlotCount); };
    const auto stage = [&](std::int64_t round) {
        if (view.number() != number) return;
        std::byte* here = view.flat(piece(round).begin);
        nodes.across.check(MPI_Bcast(here, static_cast<int>(piece(round).size()), MPI_BYTE, root / view.each(),
                                     nodes.across.communicator),
                           "MPI_Bcast", root / view.each());
        copy(here, piece(round).size(), view.slot(number, round));
    };
    const auto consume = [&](std::int64_t round) {
        if (view.number() == number) return;
        view.window().await_published(round, number);
        copy(view.slot(number, round), piece(round).size(), view.flat(piece(round).begin));
    };
    view.window().run(bytes.size(), "broadcast", pieces_in(whole, view.kSlotCount), stage, consume);
}

template void reduce_scatter_sum(const Group::Impl&, const NodeGroups&, std::span<float>);
template void reduce_scatter_sum(const Group::Impl&, const NodeGroups&, std::span<double>);
template void all_gather(const Group::Impl&, const NodeGroups&, std::span<float>);
template void all_gather(const Group::Impl&, const NodeGroups&, std::span<double>);

}  // namespace kiban::worker::by_node
