// SPDX-License-Identifier: Apache-2.0
#include "data/units.h"

#include <algorithm>
#include <charconv>

#include "data/document_id.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::size_t kUnitFiles = 1024;  // keeps a task's message small

bool is_utf8(const std::string& text) {
    try {
        static_cast<void>(nlohmann::json(text).dump());
        return true;
    } catch (const nlohmann::json::type_error&) {
        return false;
    }
}

Piece whole_file(const InputFile& file, std::uint32_t ordinal, const SourceConfig& source) {
    return {ordinal, file.path,  file.format, file.codec, source.text_field,
            0,       file.bytes, file.bytes,  file.tar,   source.max_bad_lines > 0};
}

}  // namespace

std::vector<Unit> plan_units(const std::vector<InputFile>& files, const SourceConfig& source,
                             std::uint32_t source_index, std::uint64_t unit_bytes, std::uint32_t first_id,
                             bool whole_texts) {
    // Ranges of a text start at whole leaves, so that the document's identity does not depend on the cut.
    const std::uint64_t range_bytes = (unit_bytes + kLeafBytes - 1) / kLeafBytes * kLeafBytes;
    std::vector<Unit> units;
    bool open = false;
    const auto start_unit = [&] {
        units.push_back({static_cast<std::uint32_t>(first_id + units.size()), source_index, 0, {}});
    };
    for (std::uint32_t ordinal = 0; ordinal < files.size(); ++ordinal) {
        const InputFile& file = files[ordinal];
        const std::uint64_t step = file.format == Format::text ? range_bytes : unit_bytes;
        const bool cut = file.codec == Codec::none && !file.tar && !(whole_texts && file.format == Format::text);
        if (cut && file.bytes > step) {
            for (std::uint64_t begin = 0; begin < file.bytes; begin += step) {
                start_unit();
                Piece piece = whole_file(file, ordinal, source);
                piece.begin = begin;
                piece.end = std::min(begin + step, file.bytes);
                units.back().bytes = piece.end - piece.begin;
                units.back().pieces.push_back(std::move(piece));
            }
            open = false;
            continue;
        }
        const bool full =
            open && (units.back().bytes + file.bytes > unit_bytes || units.back().pieces.size() >= kUnitFiles);
        if (!open || full) start_unit();
        open = true;
        units.back().bytes += file.bytes;
        units.back().pieces.push_back(whole_file(file, ordinal, source));
    }
    return units;
}

std::string encode_name(const std::string& name) {
    const bool plain = is_utf8(name);
    std::string encoded;
    for (const char letter : name) {
        const auto byte = static_cast<unsigned char>(letter);
        if (letter == '%' || (byte > 127 && !plain)) {
            encoded += fmt::format("%{:02X}", byte);
        } else {
            encoded.push_back(letter);
        }
    }
    return encoded;
}

std::string decode_name(const std::string& encoded) {
    std::string name;
    for (std::size_t i = 0; i < encoded.size(); ++i) {
        if (encoded[i] != '%') {
            name.push_back(encoded[i]);
            continue;
        }
        KIBAN_CHECK(i + 2 < encoded.size(), "'{}' ends inside an escape", encoded);
        unsigned value = 0;
        std::from_chars(encoded.data() + i + 1, encoded.data() + i + 3, value, 16);
        name.push_back(static_cast<char>(value));
        i += 2;
    }
    return name;
}

nlohmann::json to_json(const Piece& piece) {
    return {{"file", piece.file},
            {"path", encode_name(piece.path.string())},
            {"format", piece.format == Format::jsonl  ? "jsonl"
                       : piece.format == Format::text ? "text"
                                                      : "by_name"},
            {"tar", piece.tar},
            {"skip_bad_lines", piece.skip_bad_lines},
            {"codec", piece.codec == Codec::gzip   ? "gzip"
                      : piece.codec == Codec::zstd ? "zstd"
                                                   : "none"},
            {"text_field", piece.text_field},
            {"begin", piece.begin},
            {"end", piece.end},
            {"file_bytes", piece.file_bytes}};
}

Piece piece_from_json(const nlohmann::json& json) {
    Piece piece;
    piece.file = json.at("file").get<std::uint32_t>();
    piece.path = decode_name(json.at("path").get<std::string>());
    const auto format = json.at("format").get<std::string>();
    piece.format = format == "jsonl" ? Format::jsonl : format == "text" ? Format::text : Format::by_name;
    piece.tar = json.at("tar").get<bool>();
    piece.skip_bad_lines = json.at("skip_bad_lines").get<bool>();
    const auto codec = json.at("codec").get<std::string>();
    piece.codec = codec == "gzip" ? Codec::gzip : codec == "zstd" ? Codec::zstd : Codec::none;
    piece.text_field = json.at("text_field").get<std::string>();
    piece.begin = json.at("begin").get<std::uint64_t>();
    piece.end = json.at("end").get<std::uint64_t>();
    piece.file_bytes = json.at("file_bytes").get<std::uint64_t>();
    return piece;
}

}  // namespace kiban::data
