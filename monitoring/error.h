// SPDX-License-Identifier: Apache-2.0
// The error types of Kiban: one type per cause, each with its exit code.
//
// A message says what was attempted, on which thing (path, key, tensor, peer), what was expected, what was found
// and, where known, what to do. One sentence, lower case, values in single quotes. Rank and step are added by the
// logger. KIBAN_CHECK guards invariants, stays on in release builds and throws InternalError.
#pragma once

#include <fmt/format.h>

#include <exception>
#include <stdexcept>
#include <string>
#include <utility>

#include "monitoring/exit_codes.h"

namespace kiban {

class Error : public std::runtime_error {
  public:
    explicit Error(const std::string& message) : std::runtime_error(message) {}

    virtual int exit_code() const noexcept = 0;
    virtual const char* type_name() const noexcept = 0;
};

#define KIBAN_ERROR_TYPE(Name, code)                                      \
    class Name : public Error {                                           \
      public:                                                             \
        template <typename... Args>                                       \
        explicit Name(fmt::format_string<Args...> format, Args&&... args) \
            : Error(fmt::format(format, std::forward<Args>(args)...)) {}  \
        static constexpr const char* kName = #Name;                       \
        int exit_code() const noexcept override { return code; }          \
        const char* type_name() const noexcept override { return kName; } \
    }

KIBAN_ERROR_TYPE(UsageError, kExitUsage);
KIBAN_ERROR_TYPE(ConfigError, kExitConfiguration);
KIBAN_ERROR_TYPE(DataError, kExitData);
KIBAN_ERROR_TYPE(IoError, kExitIo);          // the operating system refused a file operation
KIBAN_ERROR_TYPE(CheckpointError, kExitIo);  // a checkpoint cannot be written, read or trusted
KIBAN_ERROR_TYPE(CommError, kExitRequeue);   // a peer or the coordinator is gone
KIBAN_ERROR_TYPE(InternalError, kExitInternal);
KIBAN_ERROR_TYPE(NonFiniteError, kExitInternal);  // a step's loss or gradient is NaN or infinite

#undef KIBAN_ERROR_TYPE

/// The exit code for any exception: that of an Error, otherwise kExitInternal.
int exit_code_of(const std::exception& error) noexcept;

/// The type name for any exception: that of an Error, otherwise "exception".
const char* type_name_of(const std::exception& error) noexcept;

[[noreturn]] void throw_check_failure(const char* expression, const char* file, int line, const std::string& message);

}  // namespace kiban

/// Throws InternalError naming the expression when it is false; further arguments are a format string and its values.
#define KIBAN_CHECK(condition, ...)                                                                               \
    do {                                                                                                          \
        if (!(condition)) ::kiban::throw_check_failure(#condition, __FILE__, __LINE__, fmt::format(__VA_ARGS__)); \
    } while (false)
