// SPDX-License-Identifier: Apache-2.0
#include "data/documents.h"

#include <algorithm>
#include <charconv>
#include <cstring>
#include <functional>
#include <limits>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "data/tar.h"
#include "monitoring/error.h"
#include "monitoring/nesting.h"

namespace kiban::data {
namespace {

constexpr std::size_t kChunkBytes = 1u << 20;

struct Line {
    std::string_view text;     // without its newline; valid until the next call
    std::uint64_t offset = 0;  // of its first byte
    bool cut = false;          // it goes on
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
            if (searched > kRecordBytes) {
                Line line = take(searched, 0);
                line.cut = true;
                return line;
            }
            if (!refill()) break;
        }
        if (begin_ == end_) return std::nullopt;
        return take(end_ - begin_, 0);
    }

    /// Passes over what is left of a line that was given cut.
    void skip_rest() {
        do {
            const std::byte* start = buffer_.data() + begin_;
            const void* newline = std::memchr(start, '\n', end_ - begin_);
            if (newline != nullptr) {
                take(static_cast<std::size_t>(static_cast<const std::byte*>(newline) - start), 1);
                return;
            }
            take(end_ - begin_, 0);
        } while (refill());
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

// Lines that are read: of a file, or of a member of an archive.
struct Text {
    const Piece& piece;
    std::string name;
    InputStream& input;
    std::uint64_t start = 0;                              // of what `input` gives, in the file
    std::uint64_t end = 0;                                // lines that start here or later are another's
    std::function<std::unique_ptr<InputStream>()> again;  // from line 1
    std::uint64_t first = 0;                              // the offset of line 1
};

// Counted only to name a bad line: a piece knows where it starts in bytes, not in lines.
std::uint64_t line_number(const Text& text, std::uint64_t offset) {
    const auto input = text.again();
    std::vector<std::byte> chunk(kChunkBytes);
    std::uint64_t lines = 1;
    for (std::uint64_t done = text.first; done < offset;) {
        const auto room =
            std::span(chunk).first(static_cast<std::size_t>(std::min<std::uint64_t>(chunk.size(), offset - done)));
        const std::size_t got = input->read(room);
        if (got == 0) break;
        lines += static_cast<std::uint64_t>(std::ranges::count(room.first(got), std::byte{'\n'}));
        done += got;
    }
    return lines;
}

[[noreturn]] void refuse(const Text& text, const Line& line, std::string_view reason) {
    throw DataError("cannot read '{}' line {}: {}", text.name, line_number(text, line.offset), reason);
}

// A line that is no document.
struct BadLine {
    std::string_view reason;  // a word, by which it is counted
    std::string message;
};

// The four hex digits of an escape "\\uXXXX" that begins at `at`; nullopt where there is none.
std::optional<unsigned> escape_at(std::string_view line, std::size_t at) {
    if (at + 6 > line.size() || line[at] != '\\' || line[at + 1] != 'u') return std::nullopt;
    unsigned code = 0;
    const auto [end, error] = std::from_chars(line.data() + at + 2, line.data() + at + 6, code, 16);
    if (error != std::errc() || end != line.data() + at + 6) return std::nullopt;
    return code;
}

// With escapes of half a surrogate pair as U+FFFD: what made such a line cut a text between them, and it is no reason
// to lose the text.
std::string with_whole_surrogates(std::string_view line) {
    std::string out;
    for (std::size_t at = 0; at < line.size();) {
        const auto code = escape_at(line, at);
        const auto is_half = [&](unsigned first) { return code && *code >= first && *code < first + 0x400; };
        const auto second = is_half(0xD800) ? escape_at(line, at + 6) : std::nullopt;
        const bool pair = second && *second >= 0xDC00 && *second < 0xE000;
        const bool escape = line[at] == '\\';
        std::size_t bytes = pair ? 12 : code ? 6 : escape ? 2 : 1;
        if (!pair && (is_half(0xD800) || is_half(0xDC00))) {
            out += "\\uFFFD";
        } else {
            out += line.substr(at, bytes);
        }
        at += bytes;
    }
    return out;
}

nlohmann::json parsed(std::string_view line) {
    auto record = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    if (!record.is_discarded()) return record;
    return nlohmann::json::parse(line.find("\\u") == std::string_view::npos ? std::string(line)
                                                                            : with_whole_surrogates(line));
}

// The text of its field. Throws BadLine.
std::string text_of(std::string_view line, const std::string& name) {
    if (line.size() > kRecordBytes)
        throw BadLine{"too_long", fmt::format("expected a line of at most {} bytes, found a longer one", kRecordBytes)};
    if (monitoring::nests_deeper_than(line, monitoring::kMostNesting)) {
        throw BadLine{"too_deep", fmt::format("expected at most {} brackets and braces in one another, found more",
                                              monitoring::kMostNesting)};
    }
    nlohmann::json record;
    try {
        record = parsed(line);
    } catch (const nlohmann::json::parse_error& error) {
        throw BadLine{"malformed_json",
                      fmt::format("expected a JSON object, found malformed JSON at its byte {}", error.byte)};
    } catch (const nlohmann::json::out_of_range&) {  // the library's word for it
        throw BadLine{"malformed_json", "expected a JSON object, found one with a number too large for 64 bits"};
    }
    if (!record.is_object())
        throw BadLine{"no_object", fmt::format("expected a JSON object, found {}", record.type_name())};
    const auto field = record.find(name);
    if (field == record.end()) {
        throw BadLine{"no_text_field", fmt::format("expected a field '{}', found none; name it with text_field", name)};
    }
    if (!field->is_string()) {
        throw BadLine{"no_text_field",
                      fmt::format("expected field '{}' to be a string, found {}", name, field->type_name())};
    }
    return std::move(field->get_ref<std::string&>());
}

void read_lines(const Text& text, bool skip_first, DocumentSink& sink) {
    LineReader lines(text.input, text.start);
    if (skip_first) {
        while (const auto line = lines.next()) {
            if (!line->cut) break;
        }
    }
    while (const auto line = lines.next()) {
        if (line->offset >= text.end) break;
        if (line->text.size() <= kRecordBytes && is_blank(line->text)) continue;
        std::string document;
        try {
            document = text_of(line->text, text.piece.text_field);
        } catch (const BadLine& bad) {
            if (!text.piece.skip_bad_lines) refuse(text, *line, bad.message);
            sink.reject(text.piece, line->offset, bad.reason);
            if (line->cut) lines.skip_rest();
            continue;
        }
        sink.begin(text.piece, line->offset);
        sink.add(std::as_bytes(std::span(document)));
        sink.end(true);
    }
}

void read_lines_of_file(const Piece& piece, DocumentSink& sink) {
    // From one byte earlier, so that a line that starts exactly at the range's begin is told from one that runs into
    // it.
    const std::uint64_t start = piece.begin == 0 ? 0 : piece.begin - 1;
    const auto input = open_input(piece.path, piece.codec, start, piece.file_bytes);
    const std::uint64_t end = piece.codec == Codec::none ? piece.end : std::numeric_limits<std::uint64_t>::max();
    const auto again = [&] { return open_input(piece.path, piece.codec, 0, piece.file_bytes); };
    read_lines({piece, piece.path.string(), *input, start, end, again, 0}, piece.begin > 0, sink);
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

// To the end of what it gives, in parts.
void read_all(InputStream& input, const std::function<void(std::span<const std::byte>)>& take) {
    std::vector<std::byte> chunk(kChunkBytes);
    while (const std::size_t got = input.read(chunk)) take(std::span(chunk).first(got));
}

// The archive's member that begins at byte `offset` of it, read again.
class MemberAgain : public InputStream {
  public:
    MemberAgain(const Piece& piece, std::uint64_t offset)
        : file_(open_input(piece.path, piece.codec, 0, piece.file_bytes)), tar_(*file_, piece.path.string()) {
        while (const auto member = tar_.next()) {
            if (member->offset != offset) continue;
            codec_ = codec_of(member->name);
            if (codec_ != Codec::none) stream_ = decompress(tar_, codec_, member->name);
            break;
        }
    }
    std::size_t read(std::span<std::byte> bytes) override { return stream_ ? stream_->read(bytes) : tar_.read(bytes); }

  private:
    std::unique_ptr<InputStream> file_;
    TarReader tar_;
    Codec codec_ = Codec::none;
    std::unique_ptr<InputStream> stream_;
};

void read_member(const Piece& piece, const TarMember& member, TarReader& tar, DocumentSink& sink) {
    const std::string name = fmt::format("{}: {}", piece.path.string(), member.name);
    if (is_tar(member.name)) {
        throw DataError("cannot read '{}': an archive within an archive is not read; unpack '{}' before", name,
                        piece.path.string());
    }
    const Codec codec = codec_of(member.name);
    std::unique_ptr<InputStream> decompressed;
    if (codec != Codec::none) decompressed = decompress(tar, codec, name);
    InputStream& input = decompressed ? *decompressed : tar;
    const Format format = piece.format == Format::by_name ? format_of(member.name) : piece.format;
    if (format == Format::jsonl) {
        const auto again = [&] { return std::make_unique<MemberAgain>(piece, member.offset); };
        return read_lines(
            {piece, name, input, member.offset, std::numeric_limits<std::uint64_t>::max(), again, member.offset},
            /*skip_first=*/false, sink);
    }
    sink.begin(piece, member.offset);
    read_all(input, [&](std::span<const std::byte> part) { sink.add(part); });
    sink.end(true);
}

bool is_hidden(const std::filesystem::path& name) {
    return std::ranges::any_of(name, [](const std::filesystem::path& part) {
        const std::string text = part.string();
        return text.starts_with('.') && text != "." && text != "..";
    });
}

void read_tar(const Piece& piece, DocumentSink& sink) {
    const auto file = open_input(piece.path, piece.codec, 0, piece.file_bytes);
    TarReader tar(*file, piece.path.string());
    while (const auto member = tar.next()) {
        if (!is_hidden(member->name)) read_member(piece, *member, tar, sink);
    }
}

}  // namespace

void read_documents(const Piece& piece, DocumentSink& sink) {
    if (piece.tar) {
        read_tar(piece, sink);
    } else if (piece.format == Format::jsonl) {
        read_lines_of_file(piece, sink);
    } else {
        read_text(piece, sink);
    }
}

}  // namespace kiban::data
