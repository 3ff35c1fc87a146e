// SPDX-License-Identifier: Apache-2.0
#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <limits>
#include <set>
#include <utility>

#include "checkpoint/safetensors.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

using nlohmann::json;

constexpr std::size_t kMaxDimensions = 32;
constexpr std::string_view kMetadata = "__metadata__";

struct Dtype {
    std::string_view name;
    std::uint64_t bytes;
};
constexpr std::array<Dtype, 15> kDtypes = {{{"F64", 8},
                                            {"I64", 8},
                                            {"U64", 8},
                                            {"F32", 4},
                                            {"I32", 4},
                                            {"U32", 4},
                                            {"F16", 2},
                                            {"BF16", 2},
                                            {"I16", 2},
                                            {"U16", 2},
                                            {"F8_E4M3", 1},
                                            {"F8_E5M2", 1},
                                            {"I8", 1},
                                            {"U8", 1},
                                            {"BOOL", 1}}};

// For messages: a name from a file may hold anything.
std::string escaped(const std::string& text) { return json(text).dump(-1, ' ', true, json::error_handler_t::replace); }

// Follows the parser's events through the only shape that a header may have; keeps no tree, so that no header can make
// it take much more memory than it has bytes.
class HeaderEvents final : public nlohmann::json_sax<json> {
  public:
    explicit HeaderEvents(std::string where) : where_(std::move(where)) {}

    std::vector<SafeTensor> tensors;
    std::map<std::string, std::string> metadata;

    bool null() override { refuse("null"); }
    bool boolean(bool) override { refuse("true or false"); }
    bool number_integer(number_integer_t) override { refuse("a negative number"); }
    bool number_float(number_float_t, const string_t&) override { refuse("a number that is no integer"); }
    bool binary(binary_t&) override { refuse("binary data"); }

    bool number_unsigned(number_unsigned_t value) override {
        if (place_ == Place::shape) {
            if (value > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
                fault(fmt::format("a dimension is {}", value));
            if (tensors.back().shape.size() == kMaxDimensions)
                fault(fmt::format("expected at most {} dimensions, found more", kMaxDimensions));
            tensors.back().shape.push_back(static_cast<std::int64_t>(value));
        } else if (place_ == Place::offsets && offsets_ < 2) {
            (offsets_++ == 0 ? tensors.back().begin : tensors.back().end) = value;
        } else {
            refuse("a number");
        }
        return true;
    }

    bool string(string_t& text) override {
        if (place_ == Place::metadata && has_key_) {
            metadata[key_] = text;
        } else if (place_ == Place::tensor && key_ == "dtype" && has_key_) {
            tensors.back().dtype = text;
        } else {
            refuse("a string");
        }
        has_key_ = false;
        return true;
    }

    bool start_object(std::size_t) override {
        if (place_ == Place::start) {
            place_ = Place::top;
        } else if (place_ == Place::top && has_key_) {
            place_ = key_ == kMetadata ? Place::metadata : Place::tensor;
            if (place_ == Place::tensor) tensors.push_back({.name = key_, .dtype = "", .shape = {}});
            fields_.clear();
        } else {
            refuse("an object");
        }
        has_key_ = false;
        return true;
    }

    bool key(string_t& text) override {
        auto& seen = place_ == Place::top ? names_ : fields_;
        if (!seen.insert(text).second) fault(fmt::format("{} comes twice", escaped(text)));
        if (place_ == Place::tensor && text != "dtype" && text != "shape" && text != "data_offsets")
            fault(fmt::format("expected dtype, shape and data_offsets, found {}", escaped(text)));
        key_ = text;
        has_key_ = true;
        return true;
    }

    bool end_object() override {
        if (place_ == Place::tensor && fields_.size() != 3)
            fault("expected dtype, shape and data_offsets, found only some of them");
        place_ = place_ == Place::top ? Place::end : Place::top;
        return true;
    }

    bool start_array(std::size_t) override {
        if (place_ != Place::tensor || !has_key_ || key_ == "dtype") refuse("an array");
        place_ = key_ == "shape" ? Place::shape : Place::offsets;
        offsets_ = 0;
        has_key_ = false;
        return true;
    }

    bool end_array() override {
        if (place_ == Place::offsets && offsets_ != 2) fault("expected two data_offsets, found fewer");
        place_ = Place::tensor;
        return true;
    }

    bool parse_error(std::size_t position, const std::string&, const nlohmann::detail::exception& error) override {
        throw CheckpointError("{}: the header is no JSON at byte {}: {}", where_, position, error.what());
    }

  private:
    enum class Place { start, top, metadata, tensor, shape, offsets, end };

    [[noreturn]] void fault(const std::string& what) const {
        const bool in_tensor = place_ == Place::tensor || place_ == Place::shape || place_ == Place::offsets;
        throw CheckpointError("{}: header{}: {}", where_,
                              in_tensor ? fmt::format(", tensor {}", escaped(tensors.back().name)) : "", what);
    }
    [[noreturn]] void refuse(const char* found) const {
        fault(fmt::format("expected names with dtype, shape and data_offsets, found {}{}", found,
                          has_key_ ? fmt::format(" at {}", escaped(key_)) : ""));
    }

    std::string where_;
    Place place_ = Place::start;
    std::string key_;
    bool has_key_ = false;  // a value must come
    int offsets_ = 0;
    std::set<std::string> names_;
    std::set<std::string> fields_;
};

std::uint64_t bytes_of(const SafeTensor& tensor, const std::string& where) {
    const auto element = safetensors_element_bytes(tensor.dtype);
    if (!element) {
        throw CheckpointError("{}: header, tensor {}: the format has no dtype {}", where, escaped(tensor.name),
                              escaped(tensor.dtype));
    }
    std::uint64_t bytes = *element;
    for (const std::int64_t size : tensor.shape) {
        if (__builtin_mul_overflow(bytes, static_cast<std::uint64_t>(size), &bytes))
            throw CheckpointError("{}: header, tensor {}: its shape {} has more bytes than any file", where,
                                  escaped(tensor.name), to_string(tensor.shape));
    }
    return bytes;
}

// No holes, no overlap, nothing behind the last.
void check_tiling(const std::vector<SafeTensor>& tensors, std::uint64_t data_bytes, const std::string& where) {
    std::uint64_t expected = 0;
    for (const SafeTensor& tensor : tensors) {
        if (tensor.begin != expected || tensor.end < tensor.begin) {
            throw CheckpointError("{}: header, tensor {}: expected its bytes from {} on, found {} to {}", where,
                                  escaped(tensor.name), expected, tensor.begin, tensor.end);
        }
        const std::uint64_t bytes = bytes_of(tensor, where);
        if (tensor.end - tensor.begin != bytes) {
            throw CheckpointError("{}: header, tensor {}: {} {} are {} bytes, but its data_offsets span {}", where,
                                  escaped(tensor.name), tensor.dtype, to_string(tensor.shape), bytes,
                                  tensor.end - tensor.begin);
        }
        expected = tensor.end;
    }
    if (expected != data_bytes) {
        throw CheckpointError("{}: its tensors end at byte {} of the data, of which there are {}", where, expected,
                              data_bytes);
    }
}

}  // namespace

std::optional<std::uint64_t> safetensors_element_bytes(std::string_view dtype) {
    for (const Dtype& known : kDtypes) {
        if (known.name == dtype) return known.bytes;
    }
    return std::nullopt;
}

std::uint64_t safetensors_header_bytes(std::span<const std::byte> start, std::uint64_t file_bytes,
                                       const std::string& where) {
    if (start.size() < 8 || file_bytes < 8)
        throw CheckpointError("{}: expected at least 8 bytes, found {}", where, std::min(file_bytes, start.size()));
    std::uint64_t length = 0;
    for (std::size_t i = 0; i < 8; ++i) length |= std::to_integer<std::uint64_t>(start[i]) << (8 * i);
    if (length > kMaxSafetensorsHeaderBytes) {
        throw CheckpointError("{}: it states a header of {} bytes: expected at most {}", where, length,
                              kMaxSafetensorsHeaderBytes);
    }
    if (length > file_bytes - 8)
        throw CheckpointError("{}: it states a header of {} bytes, but only {} follow", where, length, file_bytes - 8);
    return length;
}

SafetensorsHeader parse_safetensors_header(std::string_view text, std::uint64_t data_bytes, const std::string& where) {
    if (text.empty() || text.front() != '{') throw CheckpointError("{}: the header does not begin with '{{'", where);
    const std::size_t last = text.find_last_not_of(' ');
    if (text[last] != '}') throw CheckpointError("{}: the header does not end with '}}' and spaces", where);
    // The parser takes a zero byte for the end of its input.
    if (text.find('\0') != std::string_view::npos) throw CheckpointError("{}: a zero byte is in the header", where);
    HeaderEvents events(where);
    json::sax_parse(text.substr(0, last + 1), &events);
    SafetensorsHeader header{.tensors = std::move(events.tensors),
                             .metadata = std::move(events.metadata),
                             .data_begin = 8 + static_cast<std::uint64_t>(text.size())};
    std::stable_sort(header.tensors.begin(), header.tensors.end(), [](const SafeTensor& a, const SafeTensor& b) {
        return std::pair(a.begin, a.end) < std::pair(b.begin, b.end);
    });
    check_tiling(header.tensors, data_bytes, where);
    return header;
}

std::string safetensors_header_text(std::vector<SafeTensor>& tensors,
                                    const std::map<std::string, std::string>& metadata) {
    const std::string where = "safetensors file to be written";
    nlohmann::ordered_json content = nlohmann::ordered_json::object();
    if (!metadata.empty()) content[std::string(kMetadata)] = metadata;
    std::uint64_t end = 0;
    for (SafeTensor& tensor : tensors) {
        tensor.begin = end;
        if (__builtin_add_overflow(end, bytes_of(tensor, where), &end))
            throw CheckpointError("{}: its tensors have more bytes than any file", where);
        tensor.end = end;
        content[tensor.name] = {
            {"dtype", tensor.dtype}, {"shape", tensor.shape}, {"data_offsets", {tensor.begin, tensor.end}}};
    }
    if (content.size() != tensors.size() + (metadata.empty() ? 0 : 1))
        throw CheckpointError("{}: two of its {} tensors have the same name", where, tensors.size());
    std::string text = content.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
    text.append((8 - text.size() % 8) % 8, ' ');
    if (text.size() > kMaxSafetensorsHeaderBytes)
        throw CheckpointError("{}: its header has {} bytes, expected at most {}", where, text.size(),
                              kMaxSafetensorsHeaderBytes);
    parse_safetensors_header(text, end, where);
    std::string length(8, '\0');
    for (std::size_t i = 0; i < 8; ++i) length[i] = static_cast<char>(text.size() >> (8 * i) & 0xFF);
    return length + text;
}

}  // namespace kiban::checkpoint
