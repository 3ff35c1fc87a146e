// SPDX-License-Identifier: Apache-2.0
// A process of this machine by pid and start time, so that a pid that was given away again is not mistaken for it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

namespace kiban::coordinator {

struct ProcessId {
    int pid = 0;
    std::uint64_t start_ticks = 0;  // since boot, /proc/PID/stat field 22
    bool operator==(const ProcessId&) const = default;
};

ProcessId this_process();
/// nullopt when no such process lives (a zombie does not live), or when `name` is given and it has another one.
std::optional<ProcessId> find_process(int pid, std::string_view name = {});
bool is_alive(const ProcessId& process);

/// Where pids mean the same: boot and pid namespace. Two processes with the same text can check each other's ProcessId.
std::string process_space();

/// As the kernel has it: "running", "sleeping", "stopped", "waiting for a disk", "traced" or "gone".
std::string process_state(const ProcessId& process);

}  // namespace kiban::coordinator
