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
#include <limits>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>
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
    for (const char* known : {"kill", "stop", "hang", "eio", "enospc", "edquot", "delay", "nan", "spike"}) {
        if (fault.action == known) return fault;
    }
    throw ConfigError("KIBAN_FAULT: expected kill, stop, hang, eio, enospc, edquot, delay, nan or spike, found '{}'",
                      fault.action);
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

// As Open MPI and Slurm tell a process its rank; what has none, such as a coordinator, is spared, too.
bool is_another_rank() {
    const char* chosen = std::getenv("KIBAN_FAULT_RANK");
    if (chosen == nullptr) return false;
    for (const char* name : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
        if (const char* rank = std::getenv(name)) return std::string_view(rank) != chosen;
    }
    return true;
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
    while (action == "hang") std::this_thread::sleep_for(std::chrono::hours(1));
    if (action == "delay") std::this_thread::sleep_for(std::chrono::seconds(fault.seconds));
    for (const auto& [refusal, error] : {std::pair("eio", EIO), {"enospc", ENOSPC}, {"edquot", EDQUOT}}) {
        if (action == refusal)
            throw IoError("cannot do '{}' on '{}': {} (injected)", point, name.string(), std::strerror(error));
    }
}

bool changes_value(const std::string& action) { return action == "nan" || action == "spike"; }

// The fault that is due at this call of the point, of those that change a value or of the others.
std::optional<Fault> due_fault(std::string_view point, bool of_value) {
    static std::mutex mutex;
    static std::vector<Fault> faults = faults_of_environment();
    const std::lock_guard lock(mutex);
    std::optional<Fault> due;
    for (Fault& fault : faults) {
        if (fault.point != point || changes_value(fault.action) != of_value) continue;
        if (++fault.calls != fault.due || is_another_rank()) continue;
        if (fault.action == "delay" || !spared_by_marker()) due = fault;
    }
    return due;
}

}  // namespace

bool faults_armed() {
    static const bool armed = std::getenv("KIBAN_FAULT") != nullptr;
    return armed;
}

void fault_point(std::string_view point, const std::filesystem::path& name) {
    if (!faults_armed()) return;
    if (const auto due = due_fault(point, /*of_value=*/false)) fire(*due, point, name);
}

double fault_value(std::string_view point, double value) {
    if (!faults_armed()) return value;
    const auto due = due_fault(point, /*of_value=*/true);
    if (!due) return value;
    return due->action == "nan" ? std::numeric_limits<double>::quiet_NaN() : 1e6 * value;
}

}  // namespace kiban::monitoring
