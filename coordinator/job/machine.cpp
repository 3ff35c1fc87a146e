// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/machine.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
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
