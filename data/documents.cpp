// SPDX-License-Identifier: Apache-2.0
#include "data/documents.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>
#include <vector>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::size_t kChunkBytes = 1u << 20;

struct Line {
    std::string_view text;     // without its newline; valid until the next call
    std::uint64_t offset = 0;  // of its first byte
};

class LineReader {
  public:
    LineReader(InputStream& input, std::uint64_t offset) : input_(input), offset_(offset), buffer_(kChunkBytes) {}

    /// The next line, nullopt at the end; a line of more than kRecordBytes gives text cut there.
    std::optional<Line> next() {
        std::size_t searched = 0;
        for (;;) {
            const std::byte* start = buffer_.data() + begin_;
            const void* newline = std::memchr(start + searched, '\n', end_ - begin_ - searched);
            if (newline != nullptr)
                return take(static_cast<std::size_t>(static_cast<const std::byte*>(newline) - start), 1);
            searched = end_ - begin_;
            if (searched > kRecordBytes) return take(searched, 0);
            if (!refill()) break;
        }
        if (begin_ == end_) return std::nullopt;
        return take(end_ - begin_, 0);
    }

  private:
    Line take(std::size_t bytes, std::size_t newline_bytes) {
        const Line line{{reinterpret_cast<const char*>(buffer_.data() + begin_), bytes}, offset_};
        begin_ += bytes + newline_bytes;
        offset_ += bytes + newline_bytes;
        return line;
    }

    bool refill() {
        std::memmove(buffer_.data(), buffer_.data() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
        if (end_ == buffer_.size()) buffer_.resize(2 * buffer_.size());
        const std::size_t got = input_.read(std::span(buffer_).subspan(end_));
        end_ += got;
        return got > 0;
    }

    InputStream& input_;
    std::uint64_t offset_;
    std::vector<std::byte> buffer_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

bool is_blank(std::string_view line) { return line.find_first_not_of(" \t\r") == std::string_view::npos; }

// Counted only to name a bad line: a piece knows where it starts in bytes, not in lines.
std::uint64_t line_number(const Piece& piece, std::uint64_t offset) {
    const auto input = open_input(piece.path, piece.codec, 0, piece.file_bytes);
    std::vector<std::byte> chunk(kChunkBytes);
    std::uint64_t lines = 1;
    for (std::uint64_t done = 0; done < offset;) {
        const auto room =
            std::span(chunk).first(static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size(), offset - done)));
        const std::size_t got = input->read(room);
        if (got == 0) break;
        lines += static_cast<std::uint64_t>(std::ranges::count(room.first(got), std::byte{'\n'}));
        done += got;
    }
    return lines;
}

[[noreturn]] void refuse(const Piece& piece, const Line& line, std::string_view reason) {
    throw DataError("cannot read '{}' line {}: {}", piece.path.string(), line_number(piece, line.offset), reason);
}

std::string text_of(const Piece& piece, const Line& line) {
    if (line.text.size() > kRecordBytes) {
        refuse(piece, line, fmt::format("expected a line of at most {} bytes, found a longer one", kRecordBytes));
    }
    nlohmann::json record;
    try {
        record = nlohmann::json::parse(line.text);
    } catch (const nlohmann::json::parse_error& error) {
        refuse(piece, line, fmt::format("expected a JSON object, found malformed JSON at its byte {}", error.byte));
    }
    if (!record.is_object()) refuse(piece, line, fmt::format("expected a JSON object, found {}", record.type_name()));
    const auto field = record.find(piece.text_field);
    if (field == record.end()) {
        refuse(piece, line,
               fmt::format("expected a field '{}', found none; name it with text_field", piece.text_field));
    }
    if (!field->is_string()) {
        refuse(piece, line,
               fmt::format("expected field '{}' to be a string, found {}", piece.text_field, field->type_name()));
    }
    return std::move(field->get_ref<std::string&>());
}

void read_lines(const Piece& piece, DocumentSink& sink) {
    // From one byte earlier, so that a line that starts exactly at the range's begin is told from one that runs into
    // it.
    const std::uint64_t start = piece.begin == 0 ? 0 : piece.begin - 1;
    const auto input = open_input(piece.path, piece.codec, start, piece.file_bytes);
    LineReader lines(*input, start);
    if (piece.begin > 0) {
        while (const auto line = lines.next()) {
            if (line->text.size() <= kRecordBytes) break;
        }
    }
    while (const auto line = lines.next()) {
        if (piece.codec == Codec::none && line->offset >= piece.end) break;
        if (is_blank(line->text)) continue;
        const std::string text = text_of(piece, *line);
        sink.begin(piece, line->offset);
        sink.add(std::as_bytes(std::span(text)));
        sink.end(true);
    }
}

void read_text(const Piece& piece, DocumentSink& sink) {
    const auto input = open_input(piece.path, piece.codec, piece.begin, piece.file_bytes);
    std::vector<std::byte> chunk(kChunkBytes);
    sink.begin(piece, 0);
    std::uint64_t left = piece.end - piece.begin;
    for (;;) {
        // One byte more than there is at the end of the file, so that its size is checked again.
        const std::uint64_t want = piece.codec == Codec::none && !piece.ends_file() ? left : chunk.size();
        const auto room = std::span(chunk).first(static_cast<std::size_t>(std::min<std::uint64_t>(want, chunk.size())));
        const std::size_t got = input->read(room);
        if (got == 0) break;
        sink.add(std::span(chunk).first(got));
        left -= std::min<std::uint64_t>(left, got);
    }
    sink.end(piece.ends_file());
}

}  // namespace

void read_documents(const Piece& piece, DocumentSink& sink) {
    if (piece.format == Format::jsonl) {
        read_lines(piece, sink);
    } else {
        read_text(piece, sink);
    }
}

}  // namespace kiban::data
