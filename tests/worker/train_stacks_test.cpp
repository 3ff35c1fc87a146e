// SPDX-License-Identifier: Apache-2.0
// Stacks of threads that answer and of threads that do not; without Torch.
#include <gtest/gtest.h>
#include <pthread.h>

#include <chrono>
#include <condition_variable>
#include <csignal>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "worker/train/stacks.h"

namespace kiban::worker {
namespace {

using Clock = std::chrono::steady_clock;

// Threads that wait until the test ends.
class Threads {
  public:
    ~Threads() {
        {
            const std::lock_guard lock(mutex_);
            over_ = true;
        }
        changed_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }
    void add(const char* name, bool deaf) {
        const std::size_t before = ready_;
        threads_.emplace_back([this, name, deaf] { wait(name, deaf); });
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [&] { return ready_ > before; });
    }

  private:
    void wait(const char* name, bool deaf) {
        ::pthread_setname_np(::pthread_self(), name);
        sigset_t signals;
        sigemptyset(&signals);
        sigaddset(&signals, SIGUSR2);
        if (deaf) ::pthread_sigmask(SIG_BLOCK, &signals, nullptr);
        std::unique_lock lock(mutex_);
        ++ready_;
        changed_.notify_all();
        changed_.wait(lock, [this] { return over_; });
    }

    std::mutex mutex_;
    std::condition_variable changed_;
    std::size_t ready_ = 0;
    bool over_ = false;
    std::vector<std::thread> threads_;
};

std::size_t count(const std::string& text, const std::string& part) {
    std::size_t times = 0;
    for (auto at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++times;
    return times;
}

TEST(Stacks, OfAThreadThatAnswersAreShownAlthoughOthersBeforeItDoNot) {
    prepare_stacks();
    Threads threads;
    for (int i = 0; i < 4; ++i) threads.add("deaf", true);
    threads.add("answers", false);
    const std::string text = stacks_of_all_threads();
    EXPECT_EQ(count(text, "'deaf'\n    (it does not answer)\n"), 4U) << text;
    ASSERT_EQ(count(text, "'answers'\n"), 1U) << text;
    const std::string stack = text.substr(text.find("'answers'\n") + 10);
    EXPECT_GE(count(stack, "    /"), 2U) << "frames in libraries:\n" << text;
}

TEST(Stacks, TakeTwoSecondsAtMostHoweverManyThreadsDoNotAnswer) {
    prepare_stacks();
    Threads threads;
    for (int i = 0; i < 40; ++i) threads.add("deaf", true);
    const std::string text = stacks_of_all_threads();
    EXPECT_GE(count(text, "(it does not answer)"), 1U);
    EXPECT_LE(count(text, "(it does not answer)"), 21U) << "each is waited for a tenth of a second";
    EXPECT_EQ(count(text, "(there was no time for the other threads)"), 1U) << text;
}

}  // namespace
}  // namespace kiban::worker
