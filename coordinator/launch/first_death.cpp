// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/first_death.h"

#include <array>
#include <regex>

namespace kiban::coordinator {

std::optional<FirstDeath> first_death(const std::string& launcher_errors) {
    static const std::regex mpirun(R"(process rank (\d{1,7})[^\n]* on node ([A-Za-z0-9._-]+) exited)");
    static const std::regex srun(R"(error: ([A-Za-z0-9._-]+): tasks? (\d{1,7})[-,\d]*: )");  // several ended alike
    std::smatch match;
    if (std::regex_search(launcher_errors, match, mpirun)) return FirstDeath{std::stoi(match[1]), match[2]};
    if (std::regex_search(launcher_errors, match, srun)) return FirstDeath{std::stoi(match[2]), match[1]};
    return std::nullopt;
}

std::set<std::string> failed_hosts(const std::string& launcher_errors) {
    static const std::array<std::regex, 4> sayings = {
        std::regex(R"(error: Node failure on ([A-Za-z0-9._-]+))"),
        std::regex(R"(error: Task launch for StepId=[0-9.+]+ failed on node ([A-Za-z0-9._-]+): )"),
        std::regex(R"(Remote daemon: +\[\[\d+,\d+\],\d+\] on node ([A-Za-z0-9._-]+))"),
        std::regex(R"(ssh: connect to host ([A-Za-z0-9._-]+) port \d+: (?:No route to host|Connection timed out))")};
    std::set<std::string> hosts;
    for (const std::regex& saying : sayings) {
        const std::sregex_iterator none;
        for (std::sregex_iterator found(launcher_errors.begin(), launcher_errors.end(), saying); found != none; ++found)
            hosts.insert((*found)[1]);
    }
    return hosts;
}

}  // namespace kiban::coordinator
