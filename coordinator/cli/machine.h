// SPDX-License-Identifier: Apache-2.0
// What this machine has and how fast its parts are, for `kiban doctor`. Measures briefly; one thread (bandwidth: as
// many as given).
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

struct ProgramOutput {
    int exit_code = 0;  // 128 + signal; 127: could not be started
    std::string text;   // standard output and error
};
/// Runs a program to its end (killed after 10 s), with `additions` ("NAME=value") to the environment.
ProgramOutput run_program(const std::vector<std::string>& arguments, const std::vector<std::string>& additions = {});

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
