// SPDX-License-Identifier: Apache-2.0
// What this machine has and how fast its parts are, for `kiban doctor` and its preflight. Measures briefly; one thread
// (bandwidth: as many as given).
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kiban::coordinator {

struct Memory {
    std::uint64_t total_bytes = 0;
    std::uint64_t available_bytes = 0;
};
Memory memory_of_machine();

std::string cpu_name();

/// Bytes a second of writing one file of `bytes` and fsyncing it. IoError when `directory` cannot be written.
double durable_write_speed(const std::filesystem::path& directory, std::uint64_t bytes);

/// Bytes a second read and written by `threads` threads copying `bytes` each.
double memory_bandwidth(int threads, std::uint64_t bytes);

/// Size of the file system that holds `directory`; nullopt when there is none.
std::optional<std::uint64_t> size_of_file_system(const std::filesystem::path& directory);

/// A free port of 127.0.0.1 through which a connection was made; otherwise the reason why not.
struct LoopbackResult {
    int port = 0;
    std::string fault;
};
LoopbackResult try_loopback();

}  // namespace kiban::coordinator
