// SPDX-License-Identifier: Apache-2.0
// Preloaded into a process: the wall clock is off by as many seconds as the file named by KIBAN_SHIFTED_CLOCK says at
// the moment. The monotonic clock goes on as it is.
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/time.h>
#include <unistd.h>

#include <cstdlib>
#include <ctime>

namespace {

long shift() {
    const char* name = std::getenv("KIBAN_SHIFTED_CLOCK");
    const int file = name != nullptr ? ::open(name, O_RDONLY | O_CLOEXEC) : -1;
    if (file < 0) return 0;
    char text[32] = {};
    const auto bytes = ::read(file, text, sizeof text - 1);
    ::close(file);
    return bytes > 0 ? std::strtol(text, nullptr, 10) : 0;
}

using ClockGettime = int (*)(clockid_t, timespec*);

int real(clockid_t clock, timespec* time) {
    static const auto function = reinterpret_cast<ClockGettime>(::dlsym(RTLD_NEXT, "clock_gettime"));
    return function(clock, time);
}

}  // namespace

extern "C" {

int clock_gettime(clockid_t clock, timespec* time) noexcept {
    const int result = real(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) time->tv_sec += shift();
    return result;
}

int gettimeofday(timeval* time, void* /*zone*/) noexcept {
    timespec now{};
    const int result = clock_gettime(CLOCK_REALTIME, &now);
    *time = {now.tv_sec, now.tv_nsec / 1000};
    return result;
}

time_t time(time_t* at) noexcept {
    timespec now{};
    clock_gettime(CLOCK_REALTIME, &now);
    if (at != nullptr) *at = now.tv_sec;
    return now.tv_sec;
}
}
