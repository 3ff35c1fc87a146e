// SPDX-License-Identifier: Apache-2.0
// Child processes of a test: started with an argument list, stopped by their own id.
#pragma once

#include <sys/types.h>

#include <filesystem>
#include <map>
#include <string>
#include <vector>

namespace kiban::monitoring {

struct Finished {
    int exit_code = -1;  // -1 when a signal ended it
    int signal = 0;
    std::string output;  // stdout and stderr together
};

class Process {
  public:
    /// `environment` is added to this process's. Standard input is `input`, or empty.
    Process(std::vector<std::string> arguments, const std::map<std::string, std::string>& environment,
            std::filesystem::path output, const std::filesystem::path& input = "/dev/null");
    ~Process();  // kills it when it still runs
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    void send(int signal) const;
    bool stopped() const;  // by SIGSTOP; waits at most five seconds for it
    Finished wait();

  private:
    pid_t id_ = -1;
    std::filesystem::path output_;
};

Finished run_process(const std::vector<std::string>& arguments,
                     const std::map<std::string, std::string>& environment = {}, const std::string& input = "");

/// Runs this room's child program (child_main.cpp).
Finished run_child(std::vector<std::string> arguments, const std::map<std::string, std::string>& environment = {});

}  // namespace kiban::monitoring
