// SPDX-License-Identifier: Apache-2.0
#include "data/input_stream.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <vector>

#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

constexpr std::size_t kChunkBytes = 1u << 20;
constexpr int kGzipWindow = 15 + 16;  // zlib: the largest window, and a gzip header
constexpr int kZstdWindowLog = 31;    // what 'zstd --long=31' writes

class FileStream : public InputStream {
  public:
    FileStream(const std::filesystem::path& name, std::uint64_t begin, std::uint64_t expected_bytes)
        : file_(monitoring::File::open_read(name)), offset_(begin), bytes_(expected_bytes) {
        check_size();
    }

    std::size_t read(std::span<std::byte> bytes) override {
        const auto part =
            bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), bytes_ - offset_)));
        if (part.size() < bytes.size()) check_size();
        file_.read_at(offset_, part);
        offset_ += part.size();
        return part.size();
    }

  private:
    std::string name() const { return file_.name().string(); }

    void check_size() const {
        if (file_.size() == bytes_) return;
        throw DataError(
            "cannot read '{}': it had {} bytes when it was listed and has {} now; start again when it no longer "
            "changes",
            name(), bytes_, file_.size());
    }

    monitoring::File file_;
    std::uint64_t offset_;
    std::uint64_t bytes_;
};

// The part that gzip and zstd share: a window of compressed bytes, refilled from the input.
class CompressedStream : public InputStream {
  protected:
    CompressedStream(InputStream& input, std::string name)
        : input_(input), name_(std::move(name)), chunk_(kChunkBytes) {}

    // The compressed bytes at hand, more from the file when there are none; empty at its end.
    std::span<const std::byte> input() {
        if (begin_ == end_) {
            begin_ = 0;
            end_ = input_.read(chunk_);
            taken_ += end_;
        }
        return std::span(chunk_).subspan(begin_, end_ - begin_);
    }
    void consume(std::size_t bytes) { begin_ += bytes; }

    [[noreturn]] void fail(const char* kind, std::string_view reason) const {
        throw DataError("cannot read '{}': its {} data is damaged or cut off at byte {}: {}", name_, kind,
                        taken_ - (end_ - begin_), reason);
    }

  private:
    InputStream& input_;
    std::string name_;
    std::uint64_t taken_ = 0;
    std::vector<std::byte> chunk_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

class GzipStream : public CompressedStream {
  public:
    GzipStream(InputStream& input, std::string name) : CompressedStream(input, std::move(name)) {
        KIBAN_CHECK(inflateInit2(&zlib_, kGzipWindow) == Z_OK, "zlib does not start");
    }
    GzipStream(const GzipStream&) = delete;
    GzipStream& operator=(const GzipStream&) = delete;
    ~GzipStream() override { inflateEnd(&zlib_); }

    std::size_t read(std::span<std::byte> bytes) override {
        std::size_t filled = 0;
        while (filled < bytes.size()) {
            const auto compressed = input();
            if (compressed.empty()) {
                if (inside_member_) fail("gzip", "the file ends inside a member");
                break;
            }
            filled += inflate_into(compressed, bytes.subspan(filled));
        }
        return filled;
    }

  private:
    std::size_t inflate_into(std::span<const std::byte> compressed, std::span<std::byte> out) {
        const auto room = static_cast<uInt>(std::min<std::size_t>(out.size(), 1u << 30));
        // zlib's interface is not const-correct; it does not write to its input.
        zlib_.next_in = reinterpret_cast<Bytef*>(const_cast<std::byte*>(compressed.data()));
        zlib_.avail_in = static_cast<uInt>(compressed.size());
        zlib_.next_out = reinterpret_cast<Bytef*>(out.data());
        zlib_.avail_out = room;
        const int code = inflate(&zlib_, Z_NO_FLUSH);
        consume(compressed.size() - zlib_.avail_in);
        if (code != Z_OK && code != Z_STREAM_END && code != Z_BUF_ERROR) {
            fail("gzip", zlib_.msg != nullptr ? zlib_.msg : zError(code));
        }
        inside_member_ = code != Z_STREAM_END;
        if (code == Z_STREAM_END) KIBAN_CHECK(inflateReset(&zlib_) == Z_OK, "zlib does not start again");
        return room - zlib_.avail_out;
    }

    z_stream zlib_{};
    bool inside_member_ = true;  // an empty file is a member cut off at byte 0
};

class ZstdStream : public CompressedStream {
  public:
    ZstdStream(InputStream& input, std::string name)
        : CompressedStream(input, std::move(name)), zstd_(ZSTD_createDStream()) {
        KIBAN_CHECK(zstd_ != nullptr, "out of memory");
        ZSTD_DCtx_setParameter(zstd_, ZSTD_d_windowLogMax, kZstdWindowLog);
    }
    ZstdStream(const ZstdStream&) = delete;
    ZstdStream& operator=(const ZstdStream&) = delete;
    ~ZstdStream() override { ZSTD_freeDStream(zstd_); }

    std::size_t read(std::span<std::byte> bytes) override {
        ZSTD_outBuffer out{bytes.data(), bytes.size(), 0};
        while (out.pos < out.size) {
            const auto compressed = input();
            const std::size_t before = out.pos;
            if (compressed.empty() && !inside_frame_) break;
            ZSTD_inBuffer in{compressed.data(), compressed.size(), 0};
            const std::size_t code = ZSTD_decompressStream(zstd_, &out, &in);
            consume(in.pos);
            if (ZSTD_isError(code)) fail("zstd", ZSTD_getErrorName(code));
            inside_frame_ = code != 0;
            // At the end of the file the library may still hold decoded bytes; when it gives none the frame is cut off.
            if (compressed.empty() && inside_frame_ && out.pos == before) fail("zstd", "the file ends inside a frame");
        }
        return out.pos;
    }

  private:
    ZSTD_DStream* zstd_;
    bool inside_frame_ = true;
};

// A compressed file, which it owns.
class DecompressedFile : public InputStream {
  public:
    DecompressedFile(std::unique_ptr<InputStream> file, Codec codec, const std::string& name)
        : file_(std::move(file)), stream_(decompress(*file_, codec, name)) {}

    std::size_t read(std::span<std::byte> bytes) override { return stream_->read(bytes); }

  private:
    std::unique_ptr<InputStream> file_;
    std::unique_ptr<InputStream> stream_;
};

}  // namespace

Codec codec_of(const std::filesystem::path& file) {
    if (file.extension() == ".gz" || file.extension() == ".tgz") return Codec::gzip;
    if (file.extension() == ".zst") return Codec::zstd;
    return Codec::none;
}

std::unique_ptr<InputStream> decompress(InputStream& input, Codec codec, const std::string& name) {
    if (codec == Codec::gzip) return std::make_unique<GzipStream>(input, name);
    KIBAN_CHECK(codec == Codec::zstd, "'{}' is not compressed", name);
    return std::make_unique<ZstdStream>(input, name);
}

std::unique_ptr<InputStream> open_input(const std::filesystem::path& file, Codec codec, std::uint64_t begin,
                                        std::uint64_t expected_bytes) {
    KIBAN_CHECK(codec == Codec::none || begin == 0, "'{}' cannot be read from byte {}", file.string(), begin);
    auto plain = std::make_unique<FileStream>(file, begin, expected_bytes);
    if (codec == Codec::none) return plain;
    return std::make_unique<DecompressedFile>(std::move(plain), codec, file.string());
}

}  // namespace kiban::data
