// SPDX-License-Identifier: Apache-2.0
// The real `kiban` as a child process. One thread.
#pragma once

#include <string>
#include <vector>

namespace kiban::coordinator {

struct Result {
    int exit_code = -1;  // 128 + signal
    std::string out;
    std::string err;
};

struct Call {
    std::vector<std::string> arguments;
    std::string stdout_path;               // empty: captured
    std::vector<std::string> environment;  // NAME=value
};

/// Waits for its end.
Result run(const Call& call);
Result kiban(const std::vector<std::string>& arguments);

bool contains(const std::string& text, const std::string& part);

}  // namespace kiban::coordinator
