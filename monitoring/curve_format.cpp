// SPDX-License-Identifier: Apache-2.0
#include "monitoring/curve_format.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cmath>
#include <cstring>
#include <optional>
#include <string_view>
#include <type_traits>

#include "monitoring/crc32c.h"
#include "monitoring/error.h"

namespace kiban::monitoring {
namespace {

static_assert(std::endian::native == std::endian::little, "curve.log is little-endian and written without conversion");

constexpr std::string_view kMagic = "KIBANCRV";
constexpr std::size_t kHeaderBytes = 16;  // magic, version, crc32c of both
constexpr std::size_t kFrameBytes = 8;    // payload length, crc32c of length and payload
constexpr std::uint32_t kMaxPayloadBytes = 4096;

enum class Kind : std::uint8_t { kRow = 1, kAttempt = 2, kDurable = 3 };

template <typename Value>
void put(std::string& out, const Value& value) {
    static_assert(std::is_trivially_copyable_v<Value>);
    std::array<char, sizeof(Value)> raw{};
    std::memcpy(raw.data(), &value, sizeof(Value));
    out.append(raw.data(), raw.size());
}

std::uint32_t crc_of(std::string_view text, std::uint32_t previous = 0) {
    return crc32c(std::as_bytes(std::span(text)), previous);
}

std::string frame(const std::string& payload) {
    std::string out;
    put(out, static_cast<std::uint32_t>(payload.size()));
    put(out, crc_of(payload, crc_of(out)));
    return out + payload;
}

// Takes values off the front of a payload. Reading past its end is the caller's mistake, seen by ends_here().
class Cursor {
  public:
    explicit Cursor(std::span<const std::byte> bytes) : bytes_(bytes) {}

    template <typename Value>
    Value take() {
        Value value{};
        if (at_ + sizeof(Value) <= bytes_.size()) std::memcpy(&value, bytes_.data() + at_, sizeof(Value));
        at_ += sizeof(Value);
        return value;
    }

    bool ends_here() const { return at_ == bytes_.size(); }

  private:
    std::span<const std::byte> bytes_;
    std::size_t at_ = 0;
};

// The payload of the frame at `offset`, or nothing when no intact frame starts there.
std::optional<std::span<const std::byte>> payload_at(std::span<const std::byte> bytes, std::size_t offset) {
    if (bytes.size() - offset < kFrameBytes) return std::nullopt;
    Cursor head(bytes.subspan(offset, kFrameBytes));
    const auto length = head.take<std::uint32_t>();
    const auto expected = head.take<std::uint32_t>();
    if (length == 0 || length > kMaxPayloadBytes || length > bytes.size() - offset - kFrameBytes) return std::nullopt;
    const auto payload = bytes.subspan(offset + kFrameBytes, length);
    const std::uint32_t found = crc32c(payload, crc32c(bytes.subspan(offset, sizeof(length))));
    if (found != expected) return std::nullopt;
    return payload;
}

Kind kind_of(std::span<const std::byte> payload) { return static_cast<Kind>(payload.front()); }

// A later attempt or durability mark was written only after everything before it had reached the disk.
bool was_durable(std::span<const std::byte> bytes, std::size_t damage) {
    for (std::size_t offset = damage + 1; offset < bytes.size(); ++offset) {
        const auto payload = payload_at(bytes, offset);
        if (payload && kind_of(*payload) != Kind::kRow) return true;
    }
    return false;
}

std::uint32_t check_header(std::span<const std::byte> bytes, const std::filesystem::path& name) {
    if (bytes.size() < kHeaderBytes || std::memcmp(bytes.data(), kMagic.data(), kMagic.size()) != 0) {
        throw CurveDamaged("cannot read '{}' as a curve record: it does not begin with '{}'", name.string(), kMagic);
    }
    Cursor cursor(bytes.subspan(kMagic.size(), kHeaderBytes - kMagic.size()));
    const auto version = cursor.take<std::uint32_t>();
    if (cursor.take<std::uint32_t>() != crc32c(bytes.first(kMagic.size() + sizeof(version)))) {
        throw CurveDamaged(
            "curve record '{}' is damaged at byte 0: the header's checksum does not match; restore it from a copy",
            name.string());
    }
    if (version > kCurveVersion) {
        throw IoError(
            "cannot read curve record '{}': it has version {}, this kiban reads up to version {}; use a newer one",
            name.string(), version, kCurveVersion);
    }
    return version;
}

CurveRow decode_row(Cursor& cursor) {
    CurveRow row;
    row.step = cursor.take<std::uint64_t>();
    row.tokens = cursor.take<std::uint64_t>();
    row.loss = cursor.take<double>();
    row.learning_rate = cursor.take<double>();
    row.grad_norm = cursor.take<double>();
    row.eval_loss = cursor.take<double>();
    row.step_seconds = cursor.take<double>();
    row.wall_time = cursor.take<double>();
    row.attempt = cursor.take<std::uint32_t>();
    if (cursor.ends_here()) return row;
    row.eval_accuracy = cursor.take<double>();
    row.eval_targets = cursor.take<std::uint64_t>();
    return row;
}

// False when the payload is not one that the format can hold.
bool apply(std::span<const std::byte> payload, Curve& curve) {
    Cursor cursor(payload);
    switch (cursor.take<Kind>()) {
        case Kind::kRow: {
            const CurveRow row = decode_row(cursor);
            if (!curve.rows.empty() && row.step <= curve.rows.back().step) return false;
            curve.rows.push_back(row);
            curve.highest_step = std::max(curve.highest_step, row.step);
            break;
        }
        case Kind::kAttempt: {
            cursor.take<std::uint32_t>();
            const auto from_step = cursor.take<std::uint64_t>();
            for (; !curve.rows.empty() && curve.rows.back().step > from_step; curve.rows.pop_back())
                ++curve.superseded_rows;
            break;
        }
        case Kind::kDurable: break;
        default: return false;
    }
    return cursor.ends_here();
}

}  // namespace

std::string encode_curve_header() {
    std::string out(kMagic);
    put(out, kCurveVersion);
    put(out, crc_of(out));
    return out;
}

std::string encode_row(const CurveRow& row) {
    std::string payload;
    put(payload, Kind::kRow);
    put(payload, row.step);
    put(payload, row.tokens);
    for (const double value :
         {row.loss, row.learning_rate, row.grad_norm, row.eval_loss, row.step_seconds, row.wall_time}) {
        put(payload, value);
    }
    put(payload, row.attempt);
    if (!std::isnan(row.eval_accuracy)) {
        put(payload, row.eval_accuracy);
        put(payload, row.eval_targets);
    }
    return frame(payload);
}

std::string encode_attempt(std::uint32_t attempt, std::uint64_t from_step) {
    std::string payload;
    put(payload, Kind::kAttempt);
    put(payload, attempt);
    put(payload, from_step);
    return frame(payload);
}

std::string encode_durable_mark() {
    std::string payload;
    put(payload, Kind::kDurable);
    return frame(payload);
}

DecodedRecord decode_record(std::span<const std::byte> bytes, const std::filesystem::path& name) {
    DecodedRecord record;
    record.version = check_header(bytes, name);
    std::size_t offset = kHeaderBytes;
    while (offset < bytes.size()) {
        const auto payload = payload_at(bytes, offset);
        if (!payload) {
            if (was_durable(bytes, offset)) {
                throw CurveDamaged(
                    "curve record '{}' is damaged at byte {} of {}: an entry there does not match its checksum, and "
                    "later "
                    "entries do; restore it from a copy, or move it away to begin a new record",
                    name.string(), offset, bytes.size());
            }
            break;
        }
        if (!apply(*payload, record.curve)) {
            throw CurveDamaged(
                "curve record '{}' is damaged at byte {} of {}: an entry of kind {} with {} bytes does not belong "
                "there",
                name.string(), offset, bytes.size(), static_cast<unsigned>(payload->front()), payload->size());
        }
        offset += kFrameBytes + payload->size();
    }
    record.intact_bytes = offset;
    if (!record.curve.rows.empty()) record.last_step = record.curve.rows.back().step;
    return record;
}

}  // namespace kiban::monitoring
