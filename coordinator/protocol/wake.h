// SPDX-License-Identifier: Apache-2.0
// A doorbell between threads that poll() can wait on (eventfd). Thread-safe; never blocks.
#pragma once

#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>

#include "monitoring/error.h"

namespace kiban::coordinator {

class Wake {
  public:
    Wake() : descriptor_(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
        if (descriptor_ < 0) throw IoError("cannot make an eventfd: {}", std::strerror(errno));
    }
    ~Wake() { ::close(descriptor_); }
    Wake(const Wake&) = delete;
    Wake& operator=(const Wake&) = delete;

    void notify() noexcept {
        const std::uint64_t one = 1;
        [[maybe_unused]] const ssize_t written = ::write(descriptor_, &one, sizeof one);  // full means already ringing
    }
    void clear() noexcept {
        std::uint64_t count = 0;
        [[maybe_unused]] const ssize_t got = ::read(descriptor_, &count, sizeof count);
    }
    int descriptor() const { return descriptor_; }

  private:
    int descriptor_;
};

}  // namespace kiban::coordinator
