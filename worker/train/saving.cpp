// SPDX-License-Identifier: Apache-2.0
#include "worker/train/saving.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <chrono>
#include <thread>
#include <utility>

#include "coordinator/protocol/wire.h"
#include "monitoring/log.h"
#include "worker/train/memory_limit.h"

namespace kiban::worker {
namespace {

constexpr double kLookSeconds = 1;  // between looks at the coordinator while waiting

// The threads that this worker computes with, which stand still meanwhile.
void on_all_threads(std::size_t parts, const std::function<void(std::size_t)>& action) {
    at::parallel_for(0, static_cast<std::int64_t>(parts), 1, [&](std::int64_t begin, std::int64_t end) {
        for (std::int64_t part = begin; part < end; ++part) action(static_cast<std::size_t>(part));
    });
}

// Under a limit of this process, a small part of what it leaves: activations are still to come.
std::uint64_t largest_automatic_pool() {
    constexpr std::uint64_t kPart = 8;
    std::uint64_t most = checkpoint::kLargestAutomaticPool;
    for (const ProcessLimit& limit : process_limits())
        most = std::min(most, (limit.bytes - std::min(limit.bytes, limit.used)) / kPart);
    return most;
}

}  // namespace

Saver::Saver(const checkpoint::CheckpointConfig& config, const Group& world, ShardedOptimizer& optimizer,
             checkpoint::BackgroundWriter& writer, Control& control)
    : config_(config), world_(world), optimizer_(optimizer), writer_(writer), control_(control) {
    const std::uint64_t bytes = checkpoint::stream_bytes(optimizer.slices());
    const checkpoint::PoolSize size = checkpoint::pool_size(config, bytes, largest_automatic_pool());
    holds_shard_ = size.bytes() >= bytes;
    writer.open(size, {.done = [this](checkpoint::ShardDone done) { tell(std::move(done)); },
                       .may_write = [&control] { return !control.channel().lost(); }});
    monitoring::log_info("checkpoints: {} MiB of memory for copies of a shard of {} MiB{}", size.bytes() >> 20,
                         bytes >> 20, writer.pool().locked() ? ", locked" : "");
    control.channel().set_taker([this](const coordinator::CoordinatorMessage& message) { return take(message); });
}

Saver::~Saver() {
    control_.channel().set_taker({});
    writer_.close();
}

bool Saver::under_way() const {
    const std::lock_guard lock(mutex_);
    return is_open();
}

void Saver::begin(const checkpoint::RunState& state) {
    control_.enter("save", state.step);
    begin_shard(state, /*waited_for=*/false);
}

bool Saver::save_now(const checkpoint::RunState& state) {
    control_.enter("save", state.step);
    writer_.hurry();
    begin_shard(state, /*waited_for=*/true);
    wait_for_end(state.step);
    const std::lock_guard lock(mutex_);
    return committed_;
}

void Saver::before_update(std::uint64_t step) {
    if (writer_.copied()) return;
    control_.enter("save", step);
    while (!writer_.wait_copied(kLookSeconds)) control_.enter("save", step);
}

void Saver::begin_shard(const checkpoint::RunState& state, bool waited_for) {
    wait_for_end(state.step);  // of the one before: worker 0 knows that it ended, and its word is on its way to others
    {
        const std::lock_guard lock(mutex_);
        begun_ = state.step;
    }
    if (world_.rank() == 0) {
        control_.send(coordinator::StageRequest{.step = state.step,
                                                .bytes = optimizer_.checkpoint_bytes(),
                                                .state = checkpoint::to_json(state),
                                                .waited_for = waited_for});
    }
    while (writer_.busy()) std::this_thread::yield();  // its last words are said, its slots all but free
    const double spread = waited_for ? 0 : config_.spread * seconds_since_last_periodic();
    const bool lazy = waited_for || config_.copy == "lazy" || !holds_shard_;
    writer_.begin({.step = state.step,
                   .index = world_.rank(),
                   .slices = optimizer_.slices(),
                   .bytes_per_second = waited_for ? 0 : config_.max_mib_per_second * (1 << 20),
                   .spread_seconds = spread,
                   .direct = config_.io == "direct",
                   .waited_for = waited_for},
                  lazy ? checkpoint::CopyMode::lazy : checkpoint::CopyMode::snapshot, on_all_threads);
}

double Saver::seconds_since_last_periodic() {
    const double now = coordinator::monotonic_seconds();
    const double before = std::exchange(periodic_began_, now);
    return before > 0 ? now - before : 0;
}

// On the control thread.
bool Saver::take(const coordinator::CoordinatorMessage& message) {
    if (const auto* stage = std::get_if<coordinator::StageReply>(&message)) {
        writer_.place(stage->step, stage->directory, stage->error);
        if (!stage->error.empty()) end(stage->step, false, stage->error);
        return true;
    }
    const auto* result = std::get_if<coordinator::SaveResult>(&message);
    if (result == nullptr) return false;
    end(result->step, result->committed, result->error);
    return true;
}

void Saver::end(std::uint64_t step, bool committed, const std::string& error) {
    if (!committed) monitoring::log_warning("no checkpoint of step {}: {}", step, error);
    {
        const std::lock_guard lock(mutex_);
        ended_ = step;
        committed_ = committed;
    }
    changed_.notify_all();
}

void Saver::wait_for_end(std::uint64_t step) {
    std::unique_lock lock(mutex_);
    while (is_open()) {
        changed_.wait_for(lock, std::chrono::duration<double>(kLookSeconds));
        lock.unlock();
        control_.enter("save", step);  // CommError when the coordinator is lost
        lock.lock();
    }
}

// On the writer's thread.
void Saver::tell(checkpoint::ShardDone done) {
    coordinator::ShardWritten written{
        .step = done.step, .error = std::move(done.error), .report = nullptr, .seconds = done.seconds};
    if (done.report) written.report = checkpoint::to_json(*done.report);
    control_.send(written);
}

}  // namespace kiban::worker
