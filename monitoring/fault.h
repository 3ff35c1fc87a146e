// SPDX-License-Identifier: Apache-2.0
// Named places in the code that a test can break.
//
// KIBAN_FAULT="point=action[@n][;...]": action is kill (SIGKILL to this process), stop (SIGSTOP), eio, enospc,
// delay (one second) or delayN (N seconds); n counts this process's calls of that point from 1 (default 1). Unset, a point costs one load.
// KIBAN_FAULT_ONCE names a file: a fault fires only while it does not exist, and makes it, so that a restarted process
// is spared.
#pragma once

#include <filesystem>
#include <string_view>

namespace kiban::monitoring {

/// Does what KIBAN_FAULT asks for at this point. Throws IoError naming `name` for eio and enospc, ConfigError when
/// KIBAN_FAULT cannot be understood. Thread-safe.
void fault_point(std::string_view point, const std::filesystem::path& name = {});

}  // namespace kiban::monitoring
