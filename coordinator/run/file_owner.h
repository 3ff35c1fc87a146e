// SPDX-License-Identifier: Apache-2.0
// The process that made a file of RUN/lease, as the file has it: who drives the run, who reads a checkpoint of it.
// Internal to this room.
#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <optional>
#include <string>

#include "coordinator/launch/process_id.h"

namespace kiban::coordinator {

struct FileOwner {
    std::string host;
    std::string space;  // process_space()
    ProcessId process;

    /// Whether this process can tell if that one lives.
    bool is_here() const { return space == process_space(); }
};

/// {format, host, pid, start_ticks, process_space, nonce} of this process.
nlohmann::json fields_of_this_process();

/// nullopt when it is no object, or one of these fields is of another type.
std::optional<FileOwner> owner_in(const nlohmann::json& content);

/// nullopt when the file is not there, or its owner died before writing it.
std::optional<FileOwner> read_owner(const std::filesystem::path& file);

}  // namespace kiban::coordinator
