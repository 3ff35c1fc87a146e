// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/stop_signals.h"

#include <poll.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "monitoring/error.h"

namespace kiban::coordinator {

StopSignals::StopSignals() {
    sigset_t wanted;
    sigemptyset(&wanted);
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2}) sigaddset(&wanted, signal);
    ::pthread_sigmask(SIG_BLOCK, &wanted, &previous_);
    descriptor_ = ::signalfd(-1, &wanted, SFD_NONBLOCK | SFD_CLOEXEC);
    if (descriptor_ < 0) throw IoError("cannot wait for signals: {}", std::strerror(errno));
}

StopSignals::~StopSignals() {
    while (take()) {  // asked for while we were leaving: it must not kill us now
    }
    ::close(descriptor_);
    ::pthread_sigmask(SIG_SETMASK, &previous_, nullptr);
}

std::optional<int> StopSignals::take() {
    signalfd_siginfo info{};
    if (::read(descriptor_, &info, sizeof info) != sizeof info) return std::nullopt;
    return static_cast<int>(info.ssi_signo);
}

bool StopSignals::wait(double seconds) const {
    pollfd item{descriptor_, POLLIN, 0};
    return ::poll(&item, 1, static_cast<int>(seconds * 1000)) > 0;
}

}  // namespace kiban::coordinator
