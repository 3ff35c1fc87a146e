// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/background_writer.h"

#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <mutex>
#include <thread>
#include <utility>

#include "checkpoint/manifest.h"
#include "checkpoint/pace.h"
#include "checkpoint/shard_writer.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::checkpoint {
namespace {

using Clock = std::chrono::steady_clock;
using Lock = std::unique_lock<std::mutex>;

constexpr std::uint64_t kCopyPart = 8 << 20;  // of one thread's share of a snapshot
constexpr int kNice = 10;                     // training has the processors first

// Linux's numbers (ioprio_set(2)); the C library has none.
constexpr int kIoprioWhoProcess = 1;
constexpr int kBestEffort = 2 << 13;
constexpr int kLowestPriority = 7;
constexpr int kUsualPriority = 4;

// Of this thread. A hint: file systems and schedulers may not know it.
void set_io_priority(int level) { ::syscall(SYS_ioprio_set, kIoprioWhoProcess, 0, kBestEffort | level); }

struct Place {
    std::uint64_t step = 0;
    std::filesystem::path directory;
    std::string error;
};

struct Unit {  // what one slot holds
    std::vector<Segment> segments;
    std::uint64_t slot = 0;
    bool staged = false;
};

struct Save {
    ShardJob job;
    std::vector<Unit> units;
    std::size_t next_copy = 0;  // unit
    std::size_t copied = 0;     // units
    std::uint64_t bytes = 0;    // of all units
    bool hurried = false;
    bool given_up = false;
};

struct GivenUp {};  // thrown by what notices it; not an error to report

}  // namespace

void one_after_another(std::size_t parts, const std::function<void(std::size_t)>& action) {
    for (std::size_t part = 0; part < parts; ++part) action(part);
}

struct BackgroundWriter::Impl {
    ~Impl() {
        {
            const std::lock_guard lock(mutex);
            stopping = true;
            if (save) save->given_up = true;
        }
        changed.notify_all();
        if (thread.joinable()) thread.join();
    }

    // --- copying: by the writer's thread and by the one that waits for it ---

    bool may_copy() const {
        return save && !save->given_up && save->next_copy < save->units.size() && !free_slots.empty();
    }

    Unit& claim() {
        Unit& unit = save->units[save->next_copy++];
        unit.slot = free_slots.back();
        free_slots.pop_back();
        ++copying;
        return unit;
    }

    void copy_segment(const ShardJob& job, const Segment& segment, const Unit& unit) const {
        const auto* from = static_cast<const std::byte*>(job.slices[segment.slice].data) + segment.first;
        std::memcpy(pool.slot(unit.slot) + segment.in_slot, from, static_cast<std::size_t>(segment.bytes));
    }

    void copy_one(Lock& lock) {
        const ShardJob& job = save->job;
        Unit& unit = claim();
        lock.unlock();
        for (const Segment& segment : unit.segments) copy_segment(job, segment, unit);
        lock.lock();
        unit.staged = true;
        ++save->copied;
        --copying;
        changed.notify_all();
    }

    // All of it; no thread but ours knows of the save yet.
    void copy_all(Save& fresh, const ParallelFor& copy) {
        std::vector<std::pair<const Unit*, Segment>> parts;
        {
            const std::lock_guard lock(mutex);
            for (Unit& unit : fresh.units) {
                unit.slot = free_slots.back();
                free_slots.pop_back();
            }
        }
        for (const Unit& unit : fresh.units) {
            for (Segment rest : unit.segments) {
                while (rest.bytes > 0) {
                    Segment part = rest;
                    part.bytes = std::min(rest.bytes, kCopyPart);
                    parts.emplace_back(&unit, part);
                    rest.first += part.bytes;
                    rest.in_slot += part.bytes;
                    rest.bytes -= part.bytes;
                }
            }
        }
        copy(parts.size(), [&](std::size_t i) { copy_segment(fresh.job, parts[i].second, *parts[i].first); });
        for (Unit& unit : fresh.units) unit.staged = true;
        fresh.next_copy = fresh.copied = fresh.units.size();
    }

    // --- the writer's thread ---

    void run() {
        ::setpriority(PRIO_PROCESS, static_cast<id_t>(::syscall(SYS_gettid)), kNice);
        Lock lock(mutex);
        while (true) {
            changed.wait(lock, [this] { return stopping || save; });
            if (stopping) return;
            write(lock);
        }
    }

    void write(Lock& lock) {
        ShardDone done{.step = save->job.step, .error = "", .report = std::nullopt, .seconds = 0};
        bool tell = true;
        try {
            const Place where = wait_for_place(lock);
            tell = where.error.empty();
            const auto began = Clock::now();
            if (tell) done.report = write_shard_at(where, lock);
            done.seconds = std::chrono::duration<double>(Clock::now() - began).count();
        } catch (const GivenUp&) {
            if (!lock.owns_lock()) lock.lock();
            tell = false;
        } catch (const Error& error) {  // this save fails; the coordinator tells everybody
            if (!lock.owns_lock()) lock.lock();
            done.error = fmt::format("{}: {}", error.type_name(), error.what());
        } catch (const std::exception& error) {
            if (!lock.owns_lock()) lock.lock();
            done.error = error.what();
        }
        forget(lock);
        if (!tell) return;
        lock.unlock();
        report(std::move(done));
        lock.lock();
    }

    void report(ShardDone done) {
        const std::lock_guard lock(hooks_mutex);
        try {
            if (hooks.done) hooks.done(std::move(done));
        } catch (const std::exception& error) {  // the coordinator is lost: the training thread finds out by itself
            monitoring::log_warning("a shard's end cannot be told: {}", error.what());
        }
    }

    // The slots are free again once nobody copies into them.
    void forget(Lock& lock) {
        save->given_up = true;
        changed.wait(lock, [this] { return copying == 0; });
        save.reset();
        free_slots.clear();
        for (std::uint64_t slot = pool.size().slots; slot > 0; --slot) free_slots.push_back(slot - 1);
        changed.notify_all();
    }

    void refuse_given_up() {
        if (stopping || save->given_up) throw GivenUp{};
    }

    Place wait_for_place(Lock& lock) {
        while (true) {
            changed.wait(lock, [this] { return stopping || save->given_up || place || may_copy(); });
            refuse_given_up();
            if (place) break;
            copy_one(lock);
        }
        Place found = *std::exchange(place, std::nullopt);
        KIBAN_CHECK(found.step == save->job.step, "a place was given for step {} when step {} was to be saved",
                    found.step, save->job.step);
        return found;
    }

    ShardReport write_shard_at(const Place& where, Lock& lock) {
        set_io_priority(save->job.waited_for ? kUsualPriority : kLowestPriority);
        while (may_copy()) copy_one(lock);  // first what training waits for
        const ShardJob& job = save->job;
        lock.unlock();
        refuse_lost();
        ShardWriter writer(where.directory, job.index, job.slices, job.direct);
        lock.lock();
        Pace pace(save->bytes, job.bytes_per_second, job.spread_seconds, Clock::now());
        for (std::size_t next = 0; next < save->units.size(); ++next) {
            while (may_copy()) copy_one(lock);
            changed.wait(lock, [&] { return stopping || save->given_up || save->units[next].staged; });
            refuse_given_up();
            write_unit(writer, pace, save->units[next], lock);
            free_slots.push_back(save->units[next].slot);
            changed.notify_all();
        }
        lock.unlock();
        refuse_lost();
        ShardReport report = writer.finish();
        lock.lock();
        return report;
    }

    void write_unit(ShardWriter& writer, Pace& pace, const Unit& unit, Lock& lock) {
        const std::uint64_t chunk = pace.chunk_bytes();
        for (const Segment& segment : unit.segments) {
            for (std::uint64_t done = 0; done < segment.bytes; done += chunk) {
                refuse_given_up();
                const std::uint64_t bytes = std::min(chunk, segment.bytes - done);
                const auto began = Clock::now();
                const double worked = thread_seconds();
                lock.unlock();
                refuse_lost();
                writer.write(segment.slice, segment.first + done,
                             {pool.slot(unit.slot) + segment.in_slot + done, static_cast<std::size_t>(bytes)});
                lock.lock();
                const bool all_copied = save->copied == save->units.size();  // nobody waits for slots
                pause_until(pace.next(began, bytes, thread_seconds() - worked, all_copied), lock);
            }
        }
    }

    void pause_until(Clock::time_point time, Lock& lock) {
        if (time <= Clock::now()) return;
        changed.wait_until(lock, time, [this] { return stopping || save->given_up || save->hurried || waiting; });
    }

    void refuse_lost() {
        if (!may_write()) throw CommError("the coordinator is lost: nothing more is written");
    }

    bool may_write() {
        const std::lock_guard lock(hooks_mutex);
        return !closed && (!hooks.may_write || hooks.may_write());
    }

    StagingPool pool;

    std::mutex hooks_mutex;
    WriterHooks hooks;
    bool closed = false;  // nothing more is written

    mutable std::mutex mutex;  // of all that follows
    std::condition_variable changed;
    std::optional<Save> save;  // is there until the writer's thread is done with it
    std::optional<Place> place;
    std::vector<std::uint64_t> free_slots;
    int copying = 0;       // threads inside copy_one()
    bool waiting = false;  // training waits for copies
    bool stopping = false;

    std::thread thread;
};

BackgroundWriter::BackgroundWriter() : impl_(std::make_unique<Impl>()) {}
BackgroundWriter::~BackgroundWriter() = default;

void BackgroundWriter::open(const PoolSize& size, WriterHooks hooks) {
    StagingPool pool(size);
    {
        const std::lock_guard lock(impl_->hooks_mutex);
        impl_->hooks = std::move(hooks);
        impl_->closed = false;
    }
    const std::lock_guard lock(impl_->mutex);
    KIBAN_CHECK(!impl_->save, "a pool was to be made while a save is under way");
    impl_->pool = std::move(pool);
    impl_->free_slots.clear();
    for (std::uint64_t slot = size.slots; slot > 0; --slot) impl_->free_slots.push_back(slot - 1);
    if (!impl_->thread.joinable()) impl_->thread = std::thread([impl = impl_.get()] { impl->run(); });
}

void BackgroundWriter::close() {
    {
        Lock lock(impl_->mutex);
        if (impl_->save) impl_->save->given_up = true;
        impl_->place.reset();
        impl_->changed.notify_all();
        impl_->changed.wait(lock, [this] { return impl_->copying == 0; });
    }
    const std::lock_guard lock(impl_->hooks_mutex);
    impl_->hooks = {};
    impl_->closed = true;
}

const StagingPool& BackgroundWriter::pool() const { return impl_->pool; }

void BackgroundWriter::begin(ShardJob job, CopyMode mode, const ParallelFor& copy) {
    const std::uint64_t slot_bytes = impl_->pool.size().slot_bytes;
    std::vector<Unit> units;
    for (auto& segments : segments_of(job.slices, slot_bytes)) units.push_back({.segments = std::move(segments)});
    KIBAN_CHECK(!busy(), "a save of step {} was begun while another is under way", job.step);
    KIBAN_CHECK(mode == CopyMode::lazy || units.size() <= impl_->pool.size().slots,
                "a shard of {} slots was to be copied at once, the pool has {}", units.size(),
                impl_->pool.size().slots);
    Save save{.job = std::move(job), .units = std::move(units)};
    for (const TensorSlice& slice : save.job.slices) save.bytes += bytes_of(slice.tensor, slice.box);
    if (mode == CopyMode::snapshot) impl_->copy_all(save, copy);
    {
        const std::lock_guard lock(impl_->mutex);
        impl_->save = std::move(save);
    }
    impl_->changed.notify_all();
}

bool BackgroundWriter::wait_copied(double timeout_seconds) {
    const auto end =
        Clock::now() + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(timeout_seconds));
    Lock lock(impl_->mutex);
    const auto all_copied = [this] {
        return !impl_->save || impl_->save->given_up || impl_->save->copied == impl_->save->units.size();
    };
    impl_->waiting = true;
    impl_->changed.notify_all();
    while (!all_copied()) {
        if (impl_->may_copy()) {
            impl_->copy_one(lock);
        } else if (!impl_->changed.wait_until(lock, end, [&] { return all_copied() || impl_->may_copy(); })) {
            break;
        }
    }
    impl_->waiting = false;
    return all_copied();
}

bool BackgroundWriter::copied() const {
    const std::lock_guard lock(impl_->mutex);
    return !impl_->save || impl_->save->given_up || impl_->save->copied == impl_->save->units.size();
}

void BackgroundWriter::place(std::uint64_t step, const std::filesystem::path& directory, const std::string& error) {
    {
        const std::lock_guard lock(impl_->mutex);
        if (!error.empty() && impl_->save && impl_->save->job.step == step) {
            impl_->save->given_up = true;  // at once: the next place may come before the thread has looked
        } else {
            impl_->place = Place{step, directory, error};
        }
    }
    impl_->changed.notify_all();
}

void BackgroundWriter::hurry() {
    {
        const std::lock_guard lock(impl_->mutex);
        if (impl_->save) impl_->save->hurried = true;
    }
    impl_->changed.notify_all();
}

bool BackgroundWriter::busy() const {
    const std::lock_guard lock(impl_->mutex);
    return impl_->save.has_value();
}

}  // namespace kiban::checkpoint
