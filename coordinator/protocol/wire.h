// SPDX-License-Identifier: Apache-2.0
// What both ends of the control channel agree on: the files that introduce them to each other, and the envelope around
// a message.
//
//   RUN/control/attempt-N.json   {format, run, attempt, addresses, port, server_key, heartbeat_timeout_seconds}
//   RUN/keys/attempt-N.client    {public, secret}, mode 0600 in a 0700 directory: whoever holds it is a worker of this
//   attempt one frame a message          {"run": ..., "attempt": N, "message": {...}}; without a message it is a sign
//   of life routing id of a worker       "worker-" and its rank
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace kiban::coordinator {

inline constexpr double kHeartbeatSeconds = 1.0;
inline constexpr std::int64_t kMaxMessageBytes = 256 << 20;

struct ChannelAddress {
    std::string run_id;
    std::uint32_t attempt = 0;
    std::vector<std::string> addresses;  // numeric, tried in turn
    int port = 0;
    std::string server_key;  // public, Z85
    double heartbeat_timeout_seconds = 30;
};

struct KeyPair {  // CURVE25519, Z85
    std::string public_key;
    std::string secret_key;
};

KeyPair make_key_pair();

std::filesystem::path address_file(const std::filesystem::path& run_dir, std::uint32_t attempt);
std::filesystem::path key_file(const std::filesystem::path& run_dir, std::uint32_t attempt);

/// Publishes both files, the keys first; makes their directories. Errors: IoError.
void write_channel_files(const std::filesystem::path& run_dir, const ChannelAddress& address, const KeyPair& client);
/// CommError when missing or malformed, ConfigError when others may read the key.
ChannelAddress read_address(const std::filesystem::path& run_dir, std::uint32_t attempt);
KeyPair read_client_keys(const std::filesystem::path& run_dir, std::uint32_t attempt);

/// `message` null: a sign of life. Bytes that are not UTF-8 become U+FFFD.
std::string seal(const std::string& run_id, std::uint32_t attempt, const nlohmann::json& message);

struct Envelope {
    std::string run_id;
    std::uint32_t attempt = 0;
    nlohmann::json message;  // null: a sign of life
};
/// nullopt when the frame is no envelope at all.
std::optional<Envelope> open_envelope(const void* data, std::size_t size);

std::string routing_id_of(int rank);
std::optional<int> rank_of(const std::string& routing_id);

/// Seconds on the monotonic clock.
double monotonic_seconds();

}  // namespace kiban::coordinator
