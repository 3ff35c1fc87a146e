// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/json_fields.h"

#include <charconv>
#include <cmath>

#include "monitoring/error.h"
#include "monitoring/nesting.h"

namespace kiban::checkpoint {
namespace {

constexpr std::size_t kShownCharacters = 60;

std::string shown(const nlohmann::json& json) {
    if (json.is_object() || json.is_array()) return fmt::format("an {} of {} members", json.type_name(), json.size());
    const std::string text = json.dump(-1, ' ', true, nlohmann::json::error_handler_t::replace);
    return text.size() <= kShownCharacters ? text : text.substr(0, kShownCharacters) + "...";
}

}  // namespace

nlohmann::json parse_json(std::string_view text, const std::string& where) {
    if (monitoring::nests_deeper_than(text, monitoring::kMostNesting)) {
        throw CheckpointError("cannot read {}: expected JSON of at most {} levels, found more", where,
                              monitoring::kMostNesting);
    }
    try {
        return nlohmann::json::parse(text);
    } catch (const nlohmann::json::exception& error) {
        throw CheckpointError("cannot read {}: expected JSON, found {}", where, error.what());
    }
}

std::string dump_json(const nlohmann::json& json, const std::string& where) {
    try {
        return json.dump();
    } catch (const nlohmann::json::exception& error) {
        throw CheckpointError("cannot write {}: expected UTF-8 text, found {}", where, error.what());
    }
}

std::string to_hex(std::uint64_t value) { return fmt::format("{:016x}", value); }

std::uint64_t json_number(const nlohmann::json& json, const std::string& where, std::uint64_t most) {
    std::uint64_t value = 0;
    if (json.is_number_unsigned()) {
        value = json.get<std::uint64_t>();
    } else if (json.is_number_integer() && json.get<std::int64_t>() >= 0) {
        value = static_cast<std::uint64_t>(json.get<std::int64_t>());
    } else {
        throw CheckpointError("cannot read {}: expected an integer from 0 to {}, found {}", where, most, shown(json));
    }
    if (value > most)
        throw CheckpointError("cannot read {}: expected an integer from 0 to {}, found {}", where, most, value);
    return value;
}

JsonFields::JsonFields(const nlohmann::json& json, std::string where) : json_(json), where_(std::move(where)) {
    if (!json.is_object()) throw CheckpointError("cannot read {}: expected an object, found {}", where_, shown(json));
}

const nlohmann::json& JsonFields::field(const char* key) const {
    const auto found = json_.find(key);
    if (found == json_.end()) throw CheckpointError("cannot read {}: field '{}' is missing", where_, key);
    return *found;
}

void JsonFields::refuse(const char* key, const std::string& expected) const {
    throw CheckpointError("cannot read {}: expected {}, found {}", where(key), expected, shown(field(key)));
}

const std::string& JsonFields::text(const char* key) const {
    const nlohmann::json& value = field(key);
    if (!value.is_string()) refuse(key, "text");
    return value.get_ref<const std::string&>();
}

std::uint64_t JsonFields::number(const char* key, std::uint64_t most) const {
    return json_number(field(key), where(key), most);
}

double JsonFields::real(const char* key) const {
    const nlohmann::json& value = field(key);
    if (!value.is_number() || !std::isfinite(value.get<double>())) refuse(key, "a finite number");
    return value.get<double>();
}

std::uint64_t JsonFields::hex(const char* key) const {
    const std::string& digits = text(key);
    std::uint64_t value = 0;
    const auto result = std::from_chars(digits.data(), digits.data() + digits.size(), value, 16);
    if (digits.size() != 16 || result.ec != std::errc() || result.ptr != digits.data() + digits.size())
        refuse(key, "16 hex digits");
    return value;
}

Shape JsonFields::shape(const char* key) const {
    Shape shape;
    for (const nlohmann::json& size : array(key)) {
        shape.push_back(
            static_cast<std::int64_t>(json_number(size, where(key), std::numeric_limits<std::int64_t>::max())));
    }
    return shape;
}

const nlohmann::json& JsonFields::array(const char* key) const {
    const nlohmann::json& value = field(key);
    if (!value.is_array()) refuse(key, "an array");
    return value;
}

const nlohmann::json& JsonFields::object(const char* key) const {
    const nlohmann::json& value = field(key);
    if (!value.is_object()) refuse(key, "an object");
    return value;
}

}  // namespace kiban::checkpoint
