// SPDX-License-Identifier: Apache-2.0
#include "worker/train/stacks.h"

#include <execinfo.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <system_error>
#include <thread>
#include <vector>

namespace kiban::worker {
namespace {

using Clock = std::chrono::steady_clock;

constexpr int kFrames = 64;
constexpr int kFramesOfHandler = 2;                         // the handler and the kernel's trampoline
constexpr auto kPatience = std::chrono::milliseconds(100);  // with one thread
constexpr auto kPatienceInAll = std::chrono::seconds(2);

// What the handler fills. One request at a time; a thread that answers too late finds another request, or none.
struct Request {
    std::array<void*, kFrames> frames{};
    std::atomic<int> thread{0};  // whose turn it is; 0: nobody's
    std::atomic<int> count{0};   // of frames; 0: not there yet
};
Request request;

void write_down(int) {
    const int error = errno;
    int self = static_cast<int>(::syscall(SYS_gettid));
    if (request.thread.compare_exchange_strong(self, 0)) request.count = ::backtrace(request.frames.data(), kFrames);
    errno = error;
}

std::vector<int> threads_of_this_process() {
    std::vector<int> threads;
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator("/proc/self/task", error)) {
        const std::string name = entry.path().filename();
        int number = 0;
        if (std::from_chars(name.data(), name.data() + name.size(), number).ec == std::errc())
            threads.push_back(number);
    }
    return threads;
}

std::string name_of(int thread) {
    std::ifstream file(fmt::format("/proc/self/task/{}/comm", thread));
    std::string name;
    std::getline(file, name);
    return name;
}

struct Free {
    void operator()(char** memory) const { std::free(static_cast<void*>(memory)); }
};

std::string frames_text(int count) {
    const std::unique_ptr<char*, Free> names(::backtrace_symbols(request.frames.data(), count));
    std::string text;
    for (int frame = kFramesOfHandler; names && frame < count; ++frame)
        text += fmt::format("    {}\n", names.get()[frame]);
    return text;
}

void wait_for_frames(Clock::time_point until) {
    while (request.count == 0 && Clock::now() < until) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

// One that does not answer takes its own time, not that of those after it.
std::string stack_of(int thread, Clock::time_point until) {
    request.count = 0;
    request.thread = thread;
    if (::syscall(SYS_tgkill, ::getpid(), thread, SIGUSR2) != 0) return "    (it has ended)\n";
    wait_for_frames(std::min(until, Clock::now() + kPatience));
    int turn = thread;
    if (request.thread.compare_exchange_strong(turn, 0)) return "    (it does not answer)\n";
    wait_for_frames(until);  // it has begun
    return frames_text(request.count);
}

}  // namespace

void prepare_stacks() {
    std::array<void*, 1> frame{};
    ::backtrace(frame.data(), 1);
    struct sigaction action {};
    action.sa_handler = write_down;
    action.sa_flags = SA_RESTART;
    ::sigaction(SIGUSR2, &action, nullptr);
}

std::string stacks_of_all_threads() {
    const Clock::time_point until = Clock::now() + kPatienceInAll;
    const int self = static_cast<int>(::syscall(SYS_gettid));
    std::string text;
    for (const int thread : threads_of_this_process()) {
        if (thread == self) continue;
        if (Clock::now() >= until) return text + "  (there was no time for the other threads)\n";
        text += fmt::format("  thread {} '{}'\n{}", thread, name_of(thread), stack_of(thread, until));
    }
    return text;
}

}  // namespace kiban::worker
