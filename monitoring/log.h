// SPDX-License-Identifier: Apache-2.0
// Logging: one line = UTC time, level, who (coordinator or worker rank), message. Built on spdlog.
//
// Call start_log() once in main; log_info() and friends are then usable from any thread.
#pragma once

#include <spdlog/spdlog.h>

#include <filesystem>
#include <string>

namespace kiban::monitoring {

struct LogOptions {
    std::string who;             // "coordinator", "worker 3"
    std::filesystem::path file;  // also written here when not empty (appended, flushed per line)
    bool to_stderr = true;
};

/// IoError when the file cannot be opened.
void start_log(const LogOptions& options);

template <typename... Args>
void log_info(fmt::format_string<Args...> format, Args&&... args) {
    spdlog::info(format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_warning(fmt::format_string<Args...> format, Args&&... args) {
    spdlog::warn(format, std::forward<Args>(args)...);
}
template <typename... Args>
void log_error(fmt::format_string<Args...> format, Args&&... args) {
    spdlog::error(format, std::forward<Args>(args)...);
}

}  // namespace kiban::monitoring
