// SPDX-License-Identifier: Apache-2.0
#include "worker/comm/comm_thread.h"

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>
#include <utility>
#include <vector>

#include "monitoring/error.h"
#include "monitoring/log.h"
#include "worker/comm/handle_state.h"

namespace kiban::worker {

class CommThread::Loop {
  public:
    using StatePointer = std::shared_ptr<Handle::State>;

    explicit Loop(std::size_t capacity) : capacity_(capacity), thread_([this] { run(); }) {}

    ~Loop() {
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        filled_.notify_all();
        thread_.join();
    }

    void push(StatePointer state, bool even_if_full) {
        {
            std::unique_lock lock(mutex_);
            if (!even_if_full) taken_.wait(lock, [this] { return queue_.size() < capacity_; });
            queue_.push_back(std::move(state));
        }
        filled_.notify_one();
    }

    bool is_this_thread() const { return std::this_thread::get_id() == thread_.get_id(); }

    static inline std::atomic<Loop*> running{nullptr};

  private:
    // MPI moves messages only while it is called: so often, while there are any.
    static constexpr std::chrono::microseconds kProgress{50};

    void run() {
        std::vector<StatePointer> under_way;
        for (;;) {
            StatePointer next = take(under_way.empty());
            if (!next && under_way.empty()) return;
            if (next && !next->start()) under_way.push_back(std::move(next));
            std::erase_if(under_way, [](const StatePointer& state) { return state->progress(false); });
        }
    }

    // The next in turn. Null: it is time to look after those under way or, where there are none, to end.
    StatePointer take(bool may_sleep) {
        std::unique_lock lock(mutex_);
        if (may_sleep) {
            filled_.wait(lock, [this] { return !queue_.empty() || stopping_; });
        } else {
            filled_.wait_for(lock, kProgress, [this] { return !queue_.empty(); });
        }
        if (queue_.empty()) return nullptr;
        StatePointer next = std::move(queue_.front());
        queue_.pop_front();
        taken_.notify_one();
        return next;
    }

    std::size_t capacity_;
    std::mutex mutex_;
    std::condition_variable filled_;
    std::condition_variable taken_;
    std::deque<StatePointer> queue_;
    bool stopping_ = false;
    std::thread thread_;  // last: it uses the others
};

CommThread::CommThread(std::size_t capacity) {
    KIBAN_CHECK(capacity > 0, "a communication thread needs a place in its queue");
    KIBAN_CHECK(Loop::running.load() == nullptr, "a communication thread runs already");
    loop_ = std::make_unique<Loop>(capacity);
    Loop::running.store(loop_.get());
}

CommThread::~CommThread() {
    Loop::running.store(nullptr);  // what the loop still runs calls MPI directly, as before
    loop_.reset();
}

bool CommThread::must_submit() {
    const Loop* loop = Loop::running.load();
    return loop != nullptr && !loop->is_this_thread();
}

void CommThread::push(std::shared_ptr<Handle::State> state, bool even_if_full) {
    Loop::running.load()->push(std::move(state), even_if_full);
}

bool must_submit() { return CommThread::must_submit(); }

Handle submit(Work work) {
    auto state = std::make_shared<Handle::State>(std::move(work));
    if (must_submit()) {
        state->queued = true;
        CommThread::push(state, false);
    } else {
        state->start();
    }
    return Handle(std::move(state));
}

void submit_and_forget(std::function<void()> start) noexcept {
    try {
        if (!must_submit()) return start();
        CommThread::push(std::make_shared<Handle::State>(Work{std::move(start)}), true);
    } catch (const std::exception& error) {
        monitoring::log_error("cannot hand over to the communication thread: {}", error.what());
    }
}

}  // namespace kiban::worker
