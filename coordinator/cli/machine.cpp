// SPDX-License-Identifier: Apache-2.0
#include "coordinator/cli/machine.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>
#include <sstream>
#include <string_view>
#include <thread>

#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr auto kProgramLimit = std::chrono::seconds(10);

double seconds_since(std::chrono::steady_clock::time_point start) {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

// Files of /proc have no size: they are read until they end.
std::string proc_text(const char* name) {
    std::ostringstream text;
    text << std::ifstream(name).rdbuf();
    return text.str();
}

// Value in bytes of a line of /proc/meminfo, which counts KiB.
std::uint64_t meminfo(const std::string& text, std::string_view name) {
    const std::size_t at = text.find(name);
    if (at == std::string::npos) return 0;
    return std::strtoull(text.c_str() + at + name.size(), nullptr, 10) * 1024;
}

class Socket {
  public:
    explicit Socket(int descriptor) : descriptor_(descriptor) {}
    ~Socket() {
        if (descriptor_ >= 0) ::close(descriptor_);
    }
    Socket(const Socket&) = delete;
    Socket& operator=(const Socket&) = delete;
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

Memory memory_of_machine() {
    const std::string text = proc_text("/proc/meminfo");
    return {meminfo(text, "MemTotal:"), meminfo(text, "MemAvailable:")};
}

std::string cpu_name() {
    std::istringstream lines(proc_text("/proc/cpuinfo"));
    for (std::string line; std::getline(lines, line);) {
        if (line.starts_with("model name")) return line.substr(std::min(line.size(), line.find(':') + 2));
    }
    return "unknown";
}

ProgramOutput run_program(const std::vector<std::string>& arguments, const std::vector<std::string>& additions) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return {127, std::strerror(errno)};
    const pid_t child = ::fork();
    if (child == 0) become(arguments, additions, ends[1]);
    ::close(ends[1]);
    const Socket output(ends[0]);
    if (child < 0) return {127, std::strerror(errno)};
    ProgramOutput result;
    if (!read_all(output.get(), result.text)) ::kill(child, SIGKILL);
    int status = 0;
    while (::waitpid(child, &status, 0) < 0 && errno == EINTR) {
    }
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return result;
}

double durable_write_speed(const fs::path& directory, std::uint64_t bytes) {
    const fs::path name = directory / (".kiban-doctor-" + std::to_string(::getpid()));
    const std::vector<std::byte> block(4u << 20, std::byte{0x5A});
    monitoring::File file = monitoring::File::create(name);
    ::unlink(name.c_str());  // nothing is left behind, however this ends
    const auto start = std::chrono::steady_clock::now();
    for (std::uint64_t done = 0; done < bytes; done += block.size()) file.append(block);
    file.sync();
    return static_cast<double>(bytes) / seconds_since(start);
}

double memory_bandwidth(int threads, std::uint64_t bytes) {
    constexpr int kRounds = 3;  // the first one touches the pages
    struct Pair {
        std::unique_ptr<char[]> from;
        std::unique_ptr<char[]> to;
    };
    std::vector<Pair> pairs;
    for (int t = 0; t < threads; ++t)
        pairs.push_back({std::make_unique<char[]>(bytes), std::make_unique_for_overwrite<char[]>(bytes)});
    double best = 0;
    for (int round = 0; round < kRounds; ++round) {
        const auto start = std::chrono::steady_clock::now();
        {
            std::vector<std::jthread> team;
            for (const Pair& pair : pairs)
                team.emplace_back([&pair, bytes] { std::memcpy(pair.to.get(), pair.from.get(), bytes); });
        }
        best = std::max(best, 2.0 * static_cast<double>(bytes) * threads / seconds_since(start));
    }
    return best;
}

std::optional<std::uint64_t> size_of_file_system(const fs::path& directory) {
    struct statvfs info {};
    if (::statvfs(directory.c_str(), &info) != 0) return std::nullopt;
    return static_cast<std::uint64_t>(info.f_blocks) * info.f_frsize;
}

LoopbackResult try_loopback() {
    const auto fault = [](const char* what) {
        return LoopbackResult{0, std::string(what) + ": " + std::strerror(errno)};
    };
    const Socket server(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (server.get() < 0) return fault("socket");
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    auto* generic = reinterpret_cast<sockaddr*>(&address);
    if (::bind(server.get(), generic, size) != 0) return fault("bind to 127.0.0.1");
    if (::listen(server.get(), 1) != 0) return fault("listen on 127.0.0.1");
    if (::getsockname(server.get(), generic, &size) != 0) return fault("getsockname");
    const Socket client(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (client.get() < 0) return fault("socket");
    if (::connect(client.get(), generic, size) != 0) return fault("connect to 127.0.0.1");
    return {ntohs(address.sin_port), ""};
}

}  // namespace kiban::coordinator
