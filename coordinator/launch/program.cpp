// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/program.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>

namespace kiban::coordinator {
namespace {

constexpr auto kProgramLimit = std::chrono::seconds(10);

class Descriptor {
  public:
    explicit Descriptor(int descriptor) : descriptor_(descriptor) {}
    ~Descriptor() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    Descriptor(const Descriptor&) = delete;
    Descriptor& operator=(const Descriptor&) = delete;
    int get() const { return descriptor_; }

  private:
    int descriptor_;
};

[[noreturn]] void become(const std::vector<std::string>& arguments, const std::vector<std::string>& additions,
                         int output) {
    std::vector<char*> argv;
    for (const std::string& argument : arguments) argv.push_back(const_cast<char*>(argument.c_str()));
    argv.push_back(nullptr);
    for (const std::string& addition : additions) ::putenv(const_cast<char*>(addition.c_str()));
    ::dup2(output, STDOUT_FILENO);
    ::dup2(output, STDERR_FILENO);
    ::execvp(argv[0], argv.data());
    ::_exit(127);
}

// Everything the child writes until it closes its end or the time is over (then false).
bool read_all(int descriptor, std::string& text) {
    const auto start = std::chrono::steady_clock::now();
    char buffer[4096];
    while (true) {
        const auto left = kProgramLimit - (std::chrono::steady_clock::now() - start);
        const int wait_ms = static_cast<int>(std::chrono::duration_cast<std::chrono::milliseconds>(left).count());
        pollfd ready{descriptor, POLLIN, 0};
        if (wait_ms <= 0 || ::poll(&ready, 1, wait_ms) == 0) return false;
        const ssize_t got = ::read(descriptor, buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return true;
        text.append(buffer, static_cast<std::size_t>(got));
    }
}

}  // namespace

ProgramOutput run_program(const std::vector<std::string>& arguments, const std::vector<std::string>& additions) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return {127, std::strerror(errno)};
    const pid_t child = ::fork();
    if (child == 0) become(arguments, additions, ends[1]);
    ::close(ends[1]);
    const Descriptor output(ends[0]);
    if (child < 0) return {127, std::strerror(errno)};
    ProgramOutput result;
    if (!read_all(output.get(), result.text)) ::kill(child, SIGKILL);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

}  // namespace kiban::coordinator
