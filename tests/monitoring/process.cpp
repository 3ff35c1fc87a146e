// SPDX-License-Identifier: Apache-2.0
#include "tests/monitoring/process.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <stdexcept>
#include <thread>

#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {

Process::Process(std::vector<std::string> arguments, const std::map<std::string, std::string>& environment,
                 std::filesystem::path output, const std::filesystem::path& input)
    : output_(std::move(output)) {
    std::vector<char*> pointers;
    for (std::string& argument : arguments) pointers.push_back(argument.data());
    pointers.push_back(nullptr);
    id_ = ::fork();
    if (id_ < 0) throw std::runtime_error("cannot fork");
    if (id_ > 0) return;
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    const int in = ::open(input.c_str(), O_RDONLY);
    const int out = ::open(output_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(in, STDIN_FILENO);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(out, STDERR_FILENO);
    for (const auto& [name, value] : environment) ::setenv(name.c_str(), value.c_str(), 1);
    ::execvp(pointers[0], pointers.data());
    ::_exit(127);
}

Process::~Process() {
    if (id_ <= 0) return;
    ::kill(id_, SIGKILL);
    ::waitpid(id_, nullptr, 0);
}

void Process::send(int signal) const { ::kill(id_, signal); }

bool Process::stopped() const {
    for (int tries = 0; tries < 500; ++tries) {
        int status = 0;
        if (::waitpid(id_, &status, WUNTRACED | WNOHANG) == id_) return WIFSTOPPED(status);
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return false;
}

Finished Process::wait() {
    int status = 0;
    if (::waitpid(id_, &status, 0) != id_) throw std::runtime_error("cannot wait for a child");
    id_ = -1;
    Finished finished;
    if (WIFEXITED(status)) finished.exit_code = WEXITSTATUS(status);
    if (WIFSIGNALED(status)) finished.signal = WTERMSIG(status);
    finished.output = slurp(output_);
    return finished;
}

Finished run_process(const std::vector<std::string>& arguments, const std::map<std::string, std::string>& environment,
                     const std::string& input) {
    const TempDirectory directory;
    spill(directory / "input", input);
    return Process(arguments, environment, directory / "output", directory / "input").wait();
}

Finished run_child(std::vector<std::string> arguments, const std::map<std::string, std::string>& environment) {
    arguments.insert(arguments.begin(), KIBAN_MONITORING_CHILD);
    return run_process(arguments, environment);
}

}  // namespace kiban::monitoring
