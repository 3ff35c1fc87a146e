// SPDX-License-Identifier: Apache-2.0
#include "coordinator/protocol/wire.h"

#include <sys/stat.h>
#include <zmq.h>

#include <array>
#include <charconv>
#include <chrono>
#include <cmath>

#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/nesting.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;
constexpr int kFormat = 1;
constexpr std::string_view kPrefix = "worker-";

json parse_file(const std::filesystem::path& file, const char* what) {
    const auto text = monitoring::read_text_if_exists(file);
    if (!text)
        throw CommError("cannot find {} '{}': the coordinator of this attempt has not written it", what, file.string());
    json parsed = json::parse(*text, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) throw CommError("cannot understand {} '{}': not a JSON object", what, file.string());
    return parsed;
}

template <typename T>
T field(const json& object, const char* name, const std::filesystem::path& file) {
    try {
        return object.at(name).get<T>();
    } catch (const json::exception& error) {
        throw CommError("cannot understand '{}': field '{}': {}", file.string(), name, error.what());
    }
}

// 32 bytes in Z85 (ZeroMQ RFC 32): what libzmq takes for a key.
std::string key_field(const json& object, const char* name, const std::filesystem::path& file) {
    auto key = field<std::string>(object, name, file);
    std::array<std::uint8_t, 32> bytes{};
    if (key.size() != 40 || zmq_z85_decode(bytes.data(), key.c_str()) == nullptr) {
        throw CommError("cannot understand '{}': field '{}': expected 40 characters of Z85, found {}", file.string(),
                        name, key.size());
    }
    return key;
}

}  // namespace

KeyPair make_key_pair() {
    std::array<char, 41> public_key{};
    std::array<char, 41> secret_key{};
    KIBAN_CHECK(zmq_curve_keypair(public_key.data(), secret_key.data()) == 0, "libzmq was built without CURVE: {}",
                zmq_strerror(zmq_errno()));
    return {public_key.data(), secret_key.data()};
}

std::filesystem::path address_file(const std::filesystem::path& run_dir, std::uint32_t attempt) {
    return run_dir / "control" / fmt::format("attempt-{}.json", attempt);
}

std::filesystem::path key_file(const std::filesystem::path& run_dir, std::uint32_t attempt) {
    return run_dir / "keys" / fmt::format("attempt-{}.client", attempt);
}

void write_channel_files(const std::filesystem::path& run_dir, const ChannelAddress& address, const KeyPair& client) {
    const auto keys = key_file(run_dir, address.attempt);
    const auto file = address_file(run_dir, address.attempt);
    monitoring::make_directories(keys.parent_path());
    monitoring::make_directories(file.parent_path());
    if (::chmod(keys.parent_path().c_str(), S_IRWXU) != 0) {
        throw IoError("cannot make '{}' private to its owner (mode 0700)", keys.parent_path().string());
    }
    monitoring::publish_private(keys, json{{"public", client.public_key}, {"secret", client.secret_key}}.dump());
    const json content = {{"format", kFormat},
                          {"run", address.run_id},
                          {"attempt", address.attempt},
                          {"addresses", address.addresses},
                          {"port", address.port},
                          {"server_key", address.server_key},
                          {"heartbeat_timeout_seconds", address.heartbeat_timeout_seconds}};
    monitoring::publish(file, content.dump(2) + "\n");
}

ChannelAddress read_address(const std::filesystem::path& run_dir, std::uint32_t attempt) {
    const auto file = address_file(run_dir, attempt);
    const json content = parse_file(file, "the coordinator's address");
    const int format = field<int>(content, "format", file);
    if (format != kFormat)
        throw CommError("cannot understand '{}': format {}, this version reads {}", file.string(), format, kFormat);
    ChannelAddress address;
    address.run_id = field<std::string>(content, "run", file);
    address.attempt = field<std::uint32_t>(content, "attempt", file);
    address.addresses = field<std::vector<std::string>>(content, "addresses", file);
    address.port = field<int>(content, "port", file);
    address.server_key = key_field(content, "server_key", file);
    address.heartbeat_timeout_seconds = field<double>(content, "heartbeat_timeout_seconds", file);
    if (address.port < 1 || address.port > 65535)
        throw CommError("cannot understand '{}': field 'port': expected 1 to 65535, found {}", file.string(),
                        address.port);
    if (!std::isfinite(address.heartbeat_timeout_seconds) || address.heartbeat_timeout_seconds <= 0) {
        throw CommError(
            "cannot understand '{}': field 'heartbeat_timeout_seconds': expected a number above 0, found {}",
            file.string(), address.heartbeat_timeout_seconds);
    }
    if (address.addresses.empty()) throw CommError("cannot understand '{}': field 'addresses' is empty", file.string());
    return address;
}

KeyPair read_client_keys(const std::filesystem::path& run_dir, std::uint32_t attempt) {
    const auto file = key_file(run_dir, attempt);
    const json content = parse_file(file, "this attempt's key");
    struct stat status {};
    if (::stat(file.c_str(), &status) == 0 && (status.st_mode & (S_IRWXG | S_IRWXO)) != 0) {
        throw ConfigError(
            "refusing the key '{}': others may read it (mode {:o}, expected 600); make the run directory private",
            file.string(), status.st_mode & 0777u);
    }
    return {key_field(content, "public", file), key_field(content, "secret", file)};
}

std::string seal(const std::string& run_id, std::uint32_t attempt, const json& message) {
    json envelope = {{"run", run_id}, {"attempt", attempt}};
    if (!message.is_null()) envelope["message"] = message;
    return envelope.dump(-1, ' ', false, json::error_handler_t::replace);
}

std::optional<Envelope> open_envelope(const void* data, std::size_t size) {
    const char* text = static_cast<const char*>(data);
    if (monitoring::nests_deeper_than({text, size}, monitoring::kMostNesting)) return std::nullopt;
    json parsed = json::parse(text, text + size, nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) return std::nullopt;
    const auto run = parsed.find("run");
    const auto attempt = parsed.find("attempt");
    if (run == parsed.end() || !run->is_string() || attempt == parsed.end() || !attempt->is_number_unsigned())
        return std::nullopt;
    if (attempt->get<std::uint64_t>() > UINT32_MAX) return std::nullopt;
    const auto message = parsed.find("message");
    if (parsed.size() != (message == parsed.end() ? 2u : 3u)) return std::nullopt;
    return Envelope{run->get<std::string>(), attempt->get<std::uint32_t>(),
                    message == parsed.end() ? json() : std::move(*message)};
}

std::string routing_id_of(int rank) { return fmt::format("{}{}", kPrefix, rank); }

std::optional<int> rank_of(const std::string& routing_id) {
    if (!routing_id.starts_with(kPrefix)) return std::nullopt;
    int rank = -1;
    const char* end = routing_id.data() + routing_id.size();
    const auto [stop, code] = std::from_chars(routing_id.data() + kPrefix.size(), end, rank);
    if (code != std::errc() || stop != end || rank < 0) return std::nullopt;
    return rank;
}

double monotonic_seconds() {
    return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

}  // namespace kiban::coordinator
