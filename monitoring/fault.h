// SPDX-License-Identifier: Apache-2.0
// Named places in the code that a test can break.
//
// KIBAN_FAULT="point=action[@n][;...]": action is kill (SIGKILL to this process), stop (SIGSTOP), hang (the thread
// never goes on), eio, enospc, edquot, delay (one second) or delayN (N seconds), or, of a value, nan or spike (a
// million times as much); n counts this process's calls of that point from 1 (default 1). Unset, a point costs one
// load. KIBAN_FAULT_ONCE names a file: a fault other than a delay fires only while it does not exist, and makes it, so
// that a restarted process is spared. KIBAN_FAULT_RANK confines faults to the MPI process of that rank.
#pragma once

#include <filesystem>
#include <string_view>

namespace kiban::monitoring {

/// Does what KIBAN_FAULT asks for at this point. Throws IoError naming `name` for eio, enospc and edquot, ConfigError
/// when KIBAN_FAULT cannot be understood. Thread-safe.
void fault_point(std::string_view point, const std::filesystem::path& name = {});

/// Whether KIBAN_FAULT is set: for points whose name is made at run time.
bool faults_armed();

/// The value, or what nan or spike make of it. ConfigError as above. Thread-safe.
double fault_value(std::string_view point, double value);

}  // namespace kiban::monitoring
