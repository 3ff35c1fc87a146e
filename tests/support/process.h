// SPDX-License-Identifier: Apache-2.0
// A child process of a test: started with an argument list, watched, stopped by its own id. It never outlives the test.
#pragma once

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace kiban::testing {

/// Waits until `condition` holds, at most so long.
template <typename Condition>
bool eventually(double seconds, Condition condition) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (!condition()) {
        if (std::chrono::steady_clock::now() > end) return false;
        std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return true;
}

class Process {
  public:
    using Environment = std::map<std::string, std::string>;

    /// `environment` is added to this process's. stdout and stderr go to the file `output`, one after the other as they
    /// come.
    Process(std::vector<std::string> arguments, std::filesystem::path output, const Environment& environment = {})
        : output_(std::move(output)) {
        std::vector<char*> pointers;
        for (std::string& argument : arguments) pointers.push_back(argument.data());
        pointers.push_back(nullptr);
        const pid_t parent = ::getpid();
        id_ = ::fork();
        if (id_ < 0) throw std::runtime_error("cannot fork");
        if (id_ > 0) return;
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() != parent) ::_exit(127);
        ::dup2(::open("/dev/null", O_RDONLY), STDIN_FILENO);
        ::dup2(::open(output_.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600), STDOUT_FILENO);
        ::dup2(STDOUT_FILENO, STDERR_FILENO);
        for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
        ::execvp(pointers[0], pointers.data());
        ::_exit(127);
    }
    ~Process() {
        if (exit_code_) return;
        ::kill(id_, SIGKILL);
        ::waitpid(id_, nullptr, 0);
    }
    Process(const Process&) = delete;
    Process& operator=(const Process&) = delete;

    pid_t id() const { return id_; }
    void send(int signal) const { ::kill(id_, signal); }

    /// The exit code (128 + signal) once it has ended.
    std::optional<int> ended() {
        int status = 0;
        if (!exit_code_ && ::waitpid(id_, &status, WNOHANG) == id_) {
            exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
        }
        return exit_code_;
    }

    /// Waits for the end; throws with the output when it takes longer.
    int wait(double seconds) {
        if (!eventually(seconds, [this] { return ended().has_value(); })) {
            throw std::runtime_error("still running after " + std::to_string(seconds) + " s; it said:\n" + output());
        }
        return *exit_code_;
    }

    std::string output() const {
        std::ifstream file(output_, std::ios::binary);
        return {std::istreambuf_iterator<char>(file), {}};
    }

  private:
    pid_t id_ = -1;
    std::filesystem::path output_;
    std::optional<int> exit_code_;
};

}  // namespace kiban::testing
