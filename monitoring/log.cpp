// SPDX-License-Identifier: Apache-2.0
#include "monitoring/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <memory>
#include <vector>

#include "monitoring/error.h"

namespace kiban::monitoring {

void start_log(const LogOptions& options) {
    std::vector<spdlog::sink_ptr> sinks;
    if (options.to_stderr) sinks.push_back(std::make_shared<spdlog::sinks::stderr_sink_mt>());
    if (!options.file.empty()) {
        try {
            sinks.push_back(
                std::make_shared<spdlog::sinks::basic_file_sink_mt>(options.file.string(), /*truncate=*/false));
        } catch (const spdlog::spdlog_ex& error) {
            throw IoError("cannot open the log '{}': {}", options.file.string(), error.what());
        }
    }
    auto logger = std::make_shared<spdlog::logger>(options.who, sinks.begin(), sinks.end());
    logger->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l [%n] %v", spdlog::pattern_time_type::utc);
    logger->flush_on(spdlog::level::info);
    spdlog::set_default_logger(std::move(logger));
}

}  // namespace kiban::monitoring
