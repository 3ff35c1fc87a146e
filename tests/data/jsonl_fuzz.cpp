// SPDX-License-Identifier: Apache-2.0
// jsonl_fuzz EXECUTIONS [SEED]: JSONL files, plain, gzip and zstd. Each is either refused by a DataError, or gives
// documents that are no longer than it, the same ones when it is cut into two pieces anywhere.
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include <filesystem>
#include <fstream>

#include "data/documents.h"
#include "monitoring/error.h"
#include "tests/support/fuzz.h"

namespace {

using namespace kiban;
namespace fs = std::filesystem;

class Collected : public data::DocumentSink {
  public:
    void begin(const data::Piece&, std::uint64_t) override { documents.emplace_back(); }
    void add(std::span<const std::byte> text) override {
        documents.back().append(reinterpret_cast<const char*>(text.data()), text.size());
    }
    void end(bool complete) override { KIBAN_CHECK(complete, "a line that is half a document"); }

    std::vector<std::string> documents;
};

std::string gzip(const std::string& text) {
    z_stream stream{};
    deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    std::string packed(text.size() + 128, '\0');
    stream.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(text.data()));
    stream.avail_in = static_cast<uInt>(text.size());
    stream.next_out = reinterpret_cast<Bytef*>(packed.data());
    stream.avail_out = static_cast<uInt>(packed.size());
    deflate(&stream, Z_FINISH);
    packed.resize(stream.total_out);
    deflateEnd(&stream);
    return packed;
}

std::string zstd(const std::string& text) {
    std::string packed(ZSTD_compressBound(text.size()), '\0');
    packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
    return packed;
}

std::vector<std::string> corpus() {
    const std::string two = "{\"text\":\"one \\u00e9\\n\"}\n\n{\"id\":4,\"text\":\"two\",\"more\":[1,{\"a\":null}]}\n";
    return {two,
            R"({"text":"without an end"})",
            "  \t\r\n{\"text\":\"\"}\r\n",
            gzip(two),
            gzip(two) + gzip(R"({"text":"another member"})"),
            zstd(two),
            zstd(two) + zstd(R"({"text":"another frame"})"),
            "",
            "{\"text\":5}\n",
            "{\"other\":\"x\"}\n",
            "[]\n",
            "{\"text\":\"\xC3\x28\"}\n",
            "{\"text\":\"\\ud800\"}\n"};
}

data::Codec codec_of(const std::string& bytes) {
    if (bytes.starts_with("\x1F\x8B")) return data::Codec::gzip;
    return bytes.starts_with("\x28\xB5\x2F\xFD") ? data::Codec::zstd : data::Codec::none;
}

class Executor {
  public:
    Executor() : file_(testing::fuzz_directory() / ("kiban-jsonl-fuzz-" + std::to_string(::getpid()))) {}
    ~Executor() {
        std::error_code ignored;
        fs::remove(file_, ignored);
    }
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;

    bool execute(const std::string& bytes) const {
        std::ofstream(file_, std::ios::binary).write(bytes.data(), static_cast<std::streamsize>(bytes.size()));
        data::Piece piece{.path = file_, .format = data::Format::jsonl, .codec = codec_of(bytes), .text_field = "text"};
        piece.end = piece.file_bytes = bytes.size();
        Collected all;
        try {
            data::read_documents(piece, all);
        } catch (const DataError&) {
            return false;
        }
        if (piece.codec != data::Codec::none) return true;
        std::uint64_t text = 0;
        for (const std::string& document : all.documents) text += document.size();
        KIBAN_CHECK(text <= bytes.size(), "{} bytes of text out of {}", text, bytes.size());
        Collected cut;
        const std::uint64_t middle = bytes.size() / 2;
        for (const auto& [begin, end] : {std::pair<std::uint64_t, std::uint64_t>{0, middle}, {middle, bytes.size()}}) {
            piece.begin = begin;
            piece.end = end;
            data::read_documents(piece, cut);
        }
        KIBAN_CHECK(cut.documents == all.documents, "{} documents whole, {} in two pieces", all.documents.size(),
                    cut.documents.size());
        return true;
    }

  private:
    fs::path file_;
};

}  // namespace

int main(int argc, char** argv) {
    const Executor executor;
    const testing::FuzzTarget target{
        .corpus = corpus(),
        .tokens = {"\n",
                   "\r\n",
                   "\r",
                   "\n\n",
                   "{",
                   "}",
                   "[",
                   "]",
                   ",",
                   ":",
                   "\"",
                   "\"text\":",
                   "\"text\":\"\"",
                   "null",
                   "1e999",
                   "\\u0000",
                   "\\ud83d\\ude00",
                   "\\udc00",
                   "\\",
                   "{\"text\":\"x\"}\n",
                   std::string(1, '\0'),
                   "\xEF\xBB\xBF",
                   "\xFF",
                   "\x1F\x8B"},
        .good = 9,
        .execute = [&](const std::string& bytes) { return executor.execute(bytes); },
        .replayed = {"{\"more\":" + std::string(200000, '[') + std::string(200000, ']') + ",\"text\":5}\n",
                     "{\"text\":" + std::string(200000, '{') + "\n"}};
    return testing::fuzz(target, argc, argv);
}
