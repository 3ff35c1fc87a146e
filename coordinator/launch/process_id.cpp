// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/process_id.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <fstream>
#include <sstream>

namespace kiban::coordinator {

std::optional<ProcessId> find_process(int pid, std::string_view name) {
    std::ifstream file(fmt::format("/proc/{}/stat", pid));
    std::string stat;
    if (!std::getline(file, stat)) return std::nullopt;
    const auto open = stat.find('(');
    const auto close = stat.rfind(')');  // the name may hold anything
    if (open == std::string::npos || close == std::string::npos) return std::nullopt;
    if (!name.empty() && stat.substr(open + 1, close - open - 1) != name) return std::nullopt;
    std::istringstream rest(stat.substr(close + 1));
    std::string field;
    rest >> field;
    if (field == "Z" || field == "X") return std::nullopt;
    ProcessId process{pid, 0};
    for (int i = 4; i <= 21; ++i) rest >> field;
    if (!(rest >> process.start_ticks)) return std::nullopt;
    return process;
}

ProcessId this_process() { return find_process(::getpid()).value_or(ProcessId{::getpid(), 0}); }

bool is_alive(const ProcessId& process) { return find_process(process.pid) == process; }

std::string process_space() {
    std::string boot;
    std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
    std::array<char, 64> space{};
    const ssize_t size = ::readlink("/proc/self/ns/pid", space.data(), space.size() - 1);
    return boot + "/" + std::string(space.data(), size > 0 ? static_cast<std::size_t>(size) : 0);
}

std::string process_state(const ProcessId& process) {
    if (!is_alive(process)) return "gone";
    std::ifstream file(fmt::format("/proc/{}/stat", process.pid));
    std::string text;
    std::getline(file, text);
    const auto end_of_name = text.rfind(')');
    if (end_of_name == std::string::npos || end_of_name + 2 >= text.size()) return "gone";
    switch (text[end_of_name + 2]) {
        case 'T': return "stopped";
        case 't': return "traced";
        case 'D': return "waiting for a disk";
        case 'R': return "running";
        default: return "sleeping";
    }
}

}  // namespace kiban::coordinator
