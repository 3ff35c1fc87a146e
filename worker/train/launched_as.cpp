// SPDX-License-Identifier: Apache-2.0
#include "worker/train/launched_as.h"

#include <charconv>
#include <cstdlib>
#include <string_view>

#include "monitoring/error.h"

namespace kiban::worker {
namespace {

std::string_view variable(const char* name) {
    const char* value = std::getenv(name);
    if (value == nullptr) {
        throw ConfigError("{} is not set: kiban-worker is started by 'kiban pretrain', not by hand", name);
    }
    return value;
}

int number_in(const char* name) {
    const std::string_view text = variable(name);
    const char* end = text.data() + text.size();
    int number = 0;
    if (std::from_chars(text.data(), end, number).ptr != end || number < 1) {
        throw ConfigError("{}: expected a number of at least 1, found '{}'", name, text);
    }
    return number;
}

}  // namespace

LaunchedAs LaunchedAs::from_environment() {
    return {.run_dir = variable("KIBAN_RUN_DIR"),
            .attempt = static_cast<std::uint32_t>(number_in("KIBAN_ATTEMPT")),
            .world_size = number_in("KIBAN_WORLD")};
}

std::filesystem::path LaunchedAs::log_directory() const {
    return run_dir / "logs" / fmt::format("attempt-{}", attempt);
}

}  // namespace kiban::worker
