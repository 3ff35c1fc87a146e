// SPDX-License-Identifier: Apache-2.0
#include "monitoring/tensorboard.h"

#include <bit>
#include <cmath>
#include <cstdint>
#include <string_view>

#include "monitoring/crc32c.h"
#include "monitoring/file.h"

namespace kiban::monitoring {
namespace {

constexpr std::size_t kBufferBytes = 1 << 20;

// Protocol buffers: a field is a key (number and kind of what follows) and its value.
constexpr std::uint8_t kVarint = 0;
constexpr std::uint8_t kFixed64 = 1;
constexpr std::uint8_t kBytes = 2;
constexpr std::uint8_t kFixed32 = 5;

template <typename Unsigned>
void add_fixed(std::string& out, Unsigned value) {
    for (std::size_t byte = 0; byte < sizeof(value); ++byte) out += static_cast<char>(value >> (8 * byte) & 0xFF);
}

void add_varint(std::string& out, std::uint64_t value) {
    for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
    out += static_cast<char>(value);
}

void add_key(std::string& out, std::uint32_t field, std::uint8_t kind) { add_varint(out, field << 3 | kind); }

void add_bytes(std::string& out, std::uint32_t field, std::string_view bytes) {
    add_key(out, field, kBytes);
    add_varint(out, bytes.size());
    out += bytes;
}

// Summary.Value {tag = 1, simple_value = 2} as an element of Summary {value = 1}.
void add_scalar(std::string& summary, std::string_view tag, double value) {
    std::string element;
    add_bytes(element, 1, tag);
    add_key(element, 2, kFixed32);
    add_fixed(element, std::bit_cast<std::uint32_t>(static_cast<float>(value)));
    add_bytes(summary, 1, element);
}

// Event {wall_time = 1, step = 2, file_version = 3, summary = 5}.
std::string event_of(double wall_time) {
    std::string event;
    add_key(event, 1, kFixed64);
    add_fixed(event, std::bit_cast<std::uint64_t>(wall_time));
    return event;
}

std::string event_of(const CurveRow& row) {
    std::string summary;
    if (!without_targets(row)) add_scalar(summary, "loss/train", row.loss);
    if (!std::isnan(row.eval_loss)) add_scalar(summary, "loss/holdout", row.eval_loss);
    if (!std::isnan(row.eval_accuracy)) add_scalar(summary, "accuracy/holdout", row.eval_accuracy);
    add_scalar(summary, "optimizer/learning_rate", row.learning_rate);
    if (!without_targets(row)) add_scalar(summary, "optimizer/grad_norm", row.grad_norm);
    add_scalar(summary, "progress/tokens", static_cast<double>(row.tokens));
    add_scalar(summary, "speed/step_seconds", row.step_seconds);
    std::string event = event_of(row.wall_time);
    add_key(event, 2, kVarint);
    add_varint(event, row.step);
    add_bytes(event, 5, summary);
    return event;
}

// The mask keeps the checksum of bytes that hold checksums from being a trivial one.
std::uint32_t masked_crc(std::string_view bytes) {
    const std::uint32_t crc = crc32c(std::as_bytes(std::span(bytes)));
    return (crc >> 15 | crc << 17) + 0xA282EAD8U;
}

void add_record(std::string& out, std::string_view data) {
    std::string length;
    add_fixed(length, static_cast<std::uint64_t>(data.size()));
    out += length;
    add_fixed(out, masked_crc(length));
    out += data;
    add_fixed(out, masked_crc(data));
}

}  // namespace

std::filesystem::path write_tensorboard(const std::filesystem::path& directory, const std::vector<CurveRow>& rows) {
    make_directories(directory);
    const std::filesystem::path name = directory / "events.out.tfevents.0000000000.kiban";
    const std::filesystem::path temporary = directory / ".events.kiban.tmp";  // TensorBoard looks for "tfevents"
    remove_file(temporary);
    File file = File::create(temporary);
    std::string version = event_of(rows.empty() ? 0 : rows.front().wall_time);
    add_bytes(version, 3, "brain.Event:2");
    std::string buffer;
    add_record(buffer, version);
    const auto flush = [&] {
        file.append(std::as_bytes(std::span(buffer)));
        buffer.clear();
    };
    for (const CurveRow& row : rows) {
        add_record(buffer, event_of(row));
        if (buffer.size() >= kBufferBytes) flush();
    }
    flush();
    file.close();
    replace(temporary, name);
    return name;
}

}  // namespace kiban::monitoring
