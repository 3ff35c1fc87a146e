// SPDX-License-Identifier: Apache-2.0
#include "monitoring/error.h"

namespace kiban {

int exit_code_of(const std::exception& error) noexcept {
    const auto* ours = dynamic_cast<const Error*>(&error);
    return ours != nullptr ? ours->exit_code() : static_cast<int>(kExitInternal);
}

const char* type_name_of(const std::exception& error) noexcept {
    const auto* ours = dynamic_cast<const Error*>(&error);
    return ours != nullptr ? ours->type_name() : "exception";
}

void throw_check_failure(const char* expression, const char* file, int line, const std::string& message) {
    throw InternalError("check '{}' failed at {}:{}: {}", expression, file, line, message);
}

}  // namespace kiban
