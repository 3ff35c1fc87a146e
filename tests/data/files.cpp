// SPDX-License-Identifier: Apache-2.0
#include "tests/data/files.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <random>
#include <sstream>

#include "data/shard.h"

namespace kiban::data {

TempDirectory::TempDirectory() {
    std::string name = (std::filesystem::temp_directory_path() / "kiban_data_XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw std::runtime_error("no temporary directory");
    path_ = name;
}

TempDirectory::~TempDirectory() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
}

void TempDirectory::write(const std::string& name, const std::string& content) const {
    std::filesystem::create_directories((path_ / name).parent_path());
    std::ofstream(path_ / name, std::ios::binary) << content;
}

std::string read_file(const std::filesystem::path& file) {
    std::ostringstream content;
    content << std::ifstream(file, std::ios::binary).rdbuf();
    return content.str();
}

void flip_byte(const std::filesystem::path& file, std::uint64_t offset) {
    std::fstream stream(file, std::ios::binary | std::ios::in | std::ios::out);
    stream.seekg(static_cast<std::streamoff>(offset));
    const int byte = stream.get();
    stream.seekp(static_cast<std::streamoff>(offset));
    stream.put(static_cast<char>(byte ^ 0x10));
}

std::string gzip(const std::string& text) {
    z_stream stream{};
    deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY);
    std::string out(deflateBound(&stream, text.size()) + 64, '\0');
    std::string input = text;
    stream.next_in = reinterpret_cast<Bytef*>(input.data());
    stream.avail_in = static_cast<uInt>(input.size());
    stream.next_out = reinterpret_cast<Bytef*>(out.data());
    stream.avail_out = static_cast<uInt>(out.size());
    EXPECT_EQ(deflate(&stream, Z_FINISH), Z_STREAM_END);
    out.resize(stream.total_out);
    deflateEnd(&stream);
    return out;
}

std::string zstd(const std::string& text) {
    std::string out(ZSTD_compressBound(text.size()), '\0');
    ZSTD_CCtx* context = ZSTD_createCCtx();
    ZSTD_CCtx_setParameter(context, ZSTD_c_checksumFlag, 1);
    const std::size_t bytes = ZSTD_compress2(context, out.data(), out.size(), text.data(), text.size());
    EXPECT_FALSE(ZSTD_isError(bytes));
    out.resize(bytes);
    ZSTD_freeCCtx(context);
    return out;
}

std::string words(std::size_t bytes, std::uint64_t seed) {
    std::mt19937_64 random(seed);
    std::string text;
    while (text.size() < bytes) {
        for (std::uint64_t letters = 1 + random() % 9; letters > 0; --letters)
            text.push_back(static_cast<char>('a' + random() % 26));
        text.push_back(random() % 12 == 0 ? '\n' : ' ');
    }
    text.resize(bytes);
    return text;
}

DataConfig config_of(const std::string& path) {
    DataConfig config;
    config.holdout.fraction = 0;
    config.sources.emplace_back().path = path;
    return config;
}

std::vector<std::pair<std::string, std::string>> contents(const std::filesystem::path& directory) {
    std::vector<std::pair<std::string, std::string>> files;
    if (!std::filesystem::exists(directory)) return files;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(directory)) {
        if (entry.is_regular_file()) {
            files.emplace_back(entry.path().lexically_relative(directory).string(), read_file(entry.path()));
        }
    }
    std::sort(files.begin(), files.end());
    return files;
}

std::vector<std::int64_t> tokens_of(const Manifest& manifest, const Stream& stream) {
    std::vector<std::int64_t> ids;
    for (const Segment& segment : stream.segments) {
        const Shard shard(manifest.directory / manifest.shards.at(segment.shard).file);
        const auto part = shard.read(segment.begin, segment.end - segment.begin);
        ids.insert(ids.end(), part.begin(), part.end());
    }
    return ids;
}

std::vector<std::int64_t> ids_of(const std::vector<std::string>& documents) {
    std::vector<std::int64_t> ids;
    for (const std::string& document : documents) {
        for (const char letter : document) ids.push_back(static_cast<unsigned char>(letter));
        ids.push_back(256);
    }
    return ids;
}

}  // namespace kiban::data
