// SPDX-License-Identifier: Apache-2.0
// Typed reading of JSON that came from a disk or from another process. Every mistake (missing field, wrong type, number
// out of range) is a CheckpointError that says where, what was expected and what was found; nothing is converted
// silently.
#pragma once

#include "checkpoint/box.h"

#include <nlohmann/json.hpp>

#include <cstdint>
#include <limits>
#include <string>
#include <string_view>

namespace kiban::checkpoint {

/// Text to JSON. CheckpointError naming `where` and the byte of the first mistake.
nlohmann::json parse_json(std::string_view text, const std::string& where);
/// JSON to text, of UTF-8 strings only. CheckpointError naming `where` otherwise.
std::string dump_json(const nlohmann::json& json, const std::string& where);

/// 16 lower-case hex digits: JSON numbers above 2^53 do not survive every reader.
std::string to_hex(std::uint64_t value);

/// The fields of one object; `json` must outlive it.
class JsonFields {
  public:
    JsonFields(const nlohmann::json& json, std::string where);  // CheckpointError unless an object

    const std::string& text(const char* key) const;
    std::uint64_t number(const char* key, std::uint64_t most = std::numeric_limits<std::uint64_t>::max()) const;
    double real(const char* key) const;
    std::uint64_t hex(const char* key) const;
    Shape shape(const char* key) const;  // integers of at least 0
    const nlohmann::json& array(const char* key) const;
    const nlohmann::json& object(const char* key) const;
    std::string where(const char* key) const { return where_ + "." + key; }

  private:
    const nlohmann::json& field(const char* key) const;
    [[noreturn]] void refuse(const char* key, const std::string& expected) const;

    const nlohmann::json& json_;
    std::string where_;
};

/// An integer between 0 and `most`. CheckpointError naming `where` otherwise.
std::uint64_t json_number(const nlohmann::json& json, const std::string& where, std::uint64_t most);

}  // namespace kiban::checkpoint
