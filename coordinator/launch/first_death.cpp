// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/first_death.h"

#include <regex>

namespace kiban::coordinator {

std::optional<FirstDeath> first_death(const std::string& launcher_errors) {
    static const std::regex mpirun(R"(process rank (\d{1,7})[^\n]* on node ([A-Za-z0-9._-]+) exited)");
    static const std::regex srun(R"(error: ([A-Za-z0-9._-]+): task (\d{1,7}): )");
    std::smatch match;
    if (std::regex_search(launcher_errors, match, mpirun)) return FirstDeath{std::stoi(match[1]), match[2]};
    if (std::regex_search(launcher_errors, match, srun)) return FirstDeath{std::stoi(match[2]), match[1]};
    return std::nullopt;
}

}  // namespace kiban::coordinator
