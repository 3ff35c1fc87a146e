// SPDX-License-Identifier: Apache-2.0
#include "monitoring/fault.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "monitoring/error.h"

namespace kiban::monitoring {
namespace {

struct Fault {
    std::string point;
    std::string action;
    int due = 1;
    int calls = 0;
    int seconds = 1;  // of a delay
};

// All of the text as a number of at least 1.
std::optional<int> count_of(std::string_view text) {
    int count = 0;
    const auto result = std::from_chars(text.data(), text.data() + text.size(), count);
    const bool whole = result.ec == std::errc() && result.ptr == text.data() + text.size();
    return whole && count >= 1 ? std::optional(count) : std::nullopt;
}

Fault parse_fault(std::string_view text) {
    const auto equals = text.find('=');
    if (equals == std::string_view::npos) throw ConfigError("KIBAN_FAULT: expected 'point=action', found '{}'", text);
    Fault fault;
    fault.point = text.substr(0, equals);
    std::string_view action = text.substr(equals + 1);
    if (const auto at = action.find('@'); at != std::string_view::npos) {
        const auto due = count_of(action.substr(at + 1));
        if (!due) throw ConfigError("KIBAN_FAULT: expected a count of at least 1, found '{}'", action.substr(at + 1));
        fault.due = *due;
        action = action.substr(0, at);
    }
    constexpr std::string_view kDelay = "delay";
    if (action.starts_with(kDelay) && action != kDelay) {
        if (const auto seconds = count_of(action.substr(kDelay.size()))) {
            fault.seconds = *seconds;
            action = kDelay;
        }
    }
    fault.action = action;
    for (const char* known : {"kill", "stop", "eio", "enospc", "delay"}) {
        if (fault.action == known) return fault;
    }
    throw ConfigError("KIBAN_FAULT: expected kill, stop, eio, enospc or delay, found '{}'", fault.action);
}

std::vector<Fault> faults_of_environment() {
    std::vector<Fault> faults;
    const char* text = std::getenv("KIBAN_FAULT");
    for (std::string_view rest = text != nullptr ? text : ""; !rest.empty();) {
        const auto end = rest.find(';');
        faults.push_back(parse_fault(rest.substr(0, end)));
        rest = end == std::string_view::npos ? std::string_view() : rest.substr(end + 1);
    }
    return faults;
}

bool spared_by_marker() {
    const char* marker = std::getenv("KIBAN_FAULT_ONCE");
    if (marker == nullptr) return false;
    const int descriptor = ::open(marker, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0644);
    if (descriptor < 0) return true;
    ::close(descriptor);
    return false;
}

void fire(const Fault& fault, std::string_view point, const std::filesystem::path& name) {
    const std::string& action = fault.action;
    if (action == "kill") ::kill(::getpid(), SIGKILL);
    if (action == "stop") ::kill(::getpid(), SIGSTOP);
    if (action == "delay") std::this_thread::sleep_for(std::chrono::seconds(fault.seconds));
    if (action == "eio" || action == "enospc") {
        throw IoError("cannot do '{}' on '{}': {} (injected)", point, name.string(),
                      std::strerror(action == "eio" ? EIO : ENOSPC));
    }
}

}  // namespace

void fault_point(std::string_view point, const std::filesystem::path& name) {
    static const bool armed = std::getenv("KIBAN_FAULT") != nullptr;
    if (!armed) return;
    static std::mutex mutex;
    static std::vector<Fault> faults = faults_of_environment();
    std::optional<Fault> found;
    {
        const std::lock_guard lock(mutex);
        for (Fault& fault : faults) {
            if (fault.point == point && ++fault.calls == fault.due && !spared_by_marker()) found = fault;
        }
    }
    if (found) fire(*found, point, name);
}

}  // namespace kiban::monitoring
