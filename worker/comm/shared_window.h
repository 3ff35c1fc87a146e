// SPDX-License-Identifier: Apache-2.0
// Memory that the ranks of a group on one node share, and the turns they take in it. Internal to worker/comm.
//
// Each rank has kSlots slots to which it alone writes. A call is a number of rounds, the same on all ranks; round k of
// the window's life uses slot k % kSlots of each rank and goes: open (every rank has left the round that used the slot
// before), write, publish, read what others published, leave. A rank never opens a round before the slot is free, and
// never reads one before it is published, so calls follow each other without a barrier between them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "worker/comm/mpi_group.h"
#include "worker/comm/shared_counter.h"

namespace kiban::worker {

class SharedWindow {
  public:
    static constexpr std::uint32_t kSlots = 3;
    static constexpr std::size_t kSlotBytes = std::size_t{512} << 10;

    /// Collective; for a group whose ranks are on one node. Null, on all ranks, when the memory is not to be had.
    /// `first_round`, the same on all ranks: as if so many rounds had gone before.
    static std::unique_ptr<SharedWindow> make(const Group::Impl& group, std::uint64_t first_round = 0);

    /// Frees what make() got from MPI, of all groups: collective, so not in a destructor, which must not wait for
    /// peers. No window is used after.
    static void free_all();

    /// Runs a call of `rounds` rounds: stage(k) writes the own slot of round k, consume(k) reads the others' slots.
    /// stage(k + 1) comes before consume(k). Every rank gives its `count`; CommError, on all ranks and before anything
    /// is consumed, when they differ.
    template <typename Stage, typename Consume>
    void run(std::size_t count, const char* verb, std::int64_t rounds, const Stage& stage, const Consume& consume) {
        first_ = next_;
        open(0, count);
        if (rounds > 0) stage(0);
        publish(0);
        check_counts(verb);
        for (std::int64_t k = 0; k < rounds; ++k) {
            if (k + 1 < rounds) {
                open(k + 1, count);
                stage(k + 1);
                publish(k + 1);
            }
            consume(k);
            leave(k);
        }
        if (rounds == 0) leave(0);
    }

    // Inside a call, by its rounds.
    std::byte* slot(int rank, std::int64_t round) const;
    void await_published(std::int64_t round, int rank) const;
    /// A second publication in one round, for sums that go back.
    void publish_result(std::int64_t round);
    void await_result(std::int64_t round, int rank) const;

  private:
    struct Desk;  // what a rank writes beside its slots
    SharedWindow(const Group::Impl& group, std::vector<std::byte*> bases, std::uint64_t first_round);

    /// Rounds are counted in 64 bits, so that their slots follow each other for ever; the counters hold the low 32.
    std::uint64_t number(std::int64_t round) const { return first_ + static_cast<std::uint64_t>(round); }
    static std::uint32_t low(std::uint64_t count) { return static_cast<std::uint32_t>(count); }
    Desk& desk(int rank) const;
    void open(std::int64_t round, std::size_t count);
    void publish(std::int64_t round);
    void leave(std::int64_t round);
    void check_counts(const char* verb);
    void wait(SharedCounter& counter, std::uint32_t value) const;

    const Group::Impl& group_;
    std::vector<std::byte*> bases_;  // of each rank's memory
    std::uint64_t first_ = 0;        // the first round of this call
    std::uint64_t next_ = 0;         // that of the next
};

}  // namespace kiban::worker
