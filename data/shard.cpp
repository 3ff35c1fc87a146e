// SPDX-License-Identifier: Apache-2.0
#include "data/shard.h"

#include <sys/mman.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <mutex>

#include "data/h5.h"
#include "data/token_ids.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

constexpr const char* kFormat = "kiban token shard";
constexpr hsize_t kIdBytes = sizeof(DocumentId);
constexpr std::uint64_t kLineBytes = 64;  // of the processor's caches

std::uint64_t blocks_of(std::uint64_t tokens) { return (tokens + kBlockTokens - 1) / kBlockTokens; }

struct Place {  // a dataset's payload within the file
    std::uint64_t offset = 0;
    std::uint64_t bytes = 0;
};

struct Layout {
    Place tokens;
    Place offsets;
    Place ids;
    Place units;
    Place files;
    Place records;
    Place blocks;
};

Place make_dataset(hid_t file, const char* name, hid_t type, std::initializer_list<hsize_t> shape) {
    H5Handle dataset = h5_raw_dataset(file, name, type, std::span(shape.begin(), shape.size()));
    std::uint64_t bytes = H5Tget_size(type);
    for (const hsize_t extent : shape) bytes *= extent;
    const Place place{h5_payload_offset(dataset.id(), name), bytes};
    dataset.close();
    return place;
}

// What an older program can read is written as it always was.
std::uint64_t version_of(std::uint32_t vocabulary) { return id_bytes(vocabulary) == 2 ? 1 : 2; }

hid_t id_type(std::uint32_t bytes) { return bytes == 2 ? H5T_STD_U16LE : H5T_STD_U32LE; }

Layout make_structure(const std::filesystem::path& name, const ShardContent& content) {
    const std::lock_guard lock(h5_mutex());
    H5Handle file = h5_create(name);
    h5_write_attribute(file.id(), "format", kFormat);
    h5_write_attribute(file.id(), "version", version_of(content.vocabulary));
    h5_write_attribute(file.id(), "byte_order", "little");
    h5_write_attribute(file.id(), "tokenizer", content.tokenizer);
    h5_write_attribute(file.id(), "tokenizer_sha256", content.tokenizer_sha256);
    h5_write_attribute(file.id(), "config_sha256", content.config_sha256);
    h5_write_attribute(file.id(), "vocabulary", std::uint64_t{content.vocabulary});
    h5_write_attribute(file.id(), "end_of_document", std::uint64_t{content.end_of_document});
    h5_write_attribute(file.id(), "block_tokens", kBlockTokens);
    h5_write_attribute(file.id(), "first_document_continues",
                       std::uint64_t{content.documents.first_continues ? 1u : 0u});
    const hsize_t documents = content.documents.size();
    Layout layout;
    layout.tokens = make_dataset(file.id(), "tokens", id_type(id_bytes(content.vocabulary)), {content.tokens});
    layout.offsets = make_dataset(file.id(), "doc_offsets", H5T_STD_U64LE, {documents + 1});
    layout.ids = make_dataset(file.id(), "doc_id", H5T_STD_U8LE, {documents, kIdBytes});
    layout.units = make_dataset(file.id(), "doc_unit", H5T_STD_U32LE, {documents});
    layout.files = make_dataset(file.id(), "doc_file", H5T_STD_U32LE, {documents});
    layout.records = make_dataset(file.id(), "doc_rec", H5T_STD_U64LE, {documents});
    layout.blocks = make_dataset(file.id(), "block_xxh3", H5T_STD_U64LE, {blocks_of(content.tokens)});
    file.close();
    return layout;
}

template <typename T>
void write_table(monitoring::File& file, const Place& place, const std::vector<T>& table) {
    const auto bytes = std::as_bytes(std::span(table));
    KIBAN_CHECK(bytes.size() == place.bytes, "a table of {} bytes for {}", bytes.size(), place.bytes);
    file.write_at(place.offset, bytes);
}

std::vector<std::uint64_t> write_tokens(monitoring::File& file, const Place& place, const ShardContent& content) {
    const std::uint32_t width = id_bytes(content.vocabulary);
    std::vector<std::uint32_t> buffer(static_cast<std::size_t>(std::min(content.tokens, kBlockTokens)));
    std::vector<std::byte> stored(buffer.size() * width);
    std::vector<std::uint64_t> sums;
    for (std::uint64_t done = 0; done < content.tokens;) {
        const auto part = std::span(buffer).first(
            static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), content.tokens - done)));
        content.next_tokens(part);
        const std::uint32_t largest = largest_id(std::as_bytes(part), sizeof(std::uint32_t));
        KIBAN_CHECK(largest < content.vocabulary, "token {} of a vocabulary of {}", largest, content.vocabulary);
        store_ids(part, width, stored.data());
        const auto bytes = std::span(stored).first(part.size() * width);
        sums.push_back(XXH3_64bits(bytes.data(), bytes.size()));
        file.write_at(place.offset + done * width, bytes);
        done += part.size();
    }
    return sums;
}

class Map {  // a file mapped to memory, read only
  public:
    explicit Map(const std::filesystem::path& name) {
        const auto file = monitoring::File::open_read(name);
        bytes_ = static_cast<std::size_t>(file.size());
        address_ = ::mmap(nullptr, bytes_, PROT_READ, MAP_SHARED, file.descriptor(), 0);
        if (address_ == MAP_FAILED) {
            throw IoError("cannot map the {} bytes of '{}' to memory: {}", bytes_, name.string(), std::strerror(errno));
        }
    }
    Map(const Map&) = delete;
    Map& operator=(const Map&) = delete;
    ~Map() { ::munmap(address_, bytes_); }

    std::span<const std::byte> bytes() const { return {static_cast<const std::byte*>(address_), bytes_}; }

  private:
    void* address_ = MAP_FAILED;
    std::size_t bytes_ = 0;
};

Place find_dataset(hid_t file, const char* name, hid_t type, int rank) {
    const std::string operation = fmt::format("open dataset '{}'", name);
    H5Handle dataset(H5Dopen2(file, name, H5P_DEFAULT), H5Dclose, operation);
    H5Handle found_type(H5Dget_type(dataset.id()), H5Tclose, operation);
    H5Handle space(H5Dget_space(dataset.id()), H5Sclose, operation);
    if (H5Tequal(found_type.id(), type) <= 0 || H5Sget_simple_extent_ndims(space.id()) != rank) {
        throw IoError("cannot {}: it has another type or number of dimensions", operation);
    }
    const hssize_t elements = H5Sget_simple_extent_npoints(space.id());
    return {h5_payload_offset(dataset.id(), name), static_cast<std::uint64_t>(elements) * H5Tget_size(type)};
}

}  // namespace

WrittenShard write_shard(const std::filesystem::path& file, const ShardContent& content) {
    const ShardDocuments& documents = content.documents;
    KIBAN_CHECK(content.tokens > 0 && documents.size() > 0, "a shard of {} tokens and {} documents", content.tokens,
                documents.size());
    KIBAN_CHECK(documents.offsets.size() == documents.size() + 1 && documents.offsets.back() == content.tokens,
                "document offsets that do not cover {} tokens", content.tokens);
    const Layout layout = make_structure(file, content);
    auto output = monitoring::File::open_write(file);
    const std::uint64_t bytes = output.size();
    output.preallocate(bytes);
    WrittenShard written{write_tokens(output, layout.tokens, content), bytes};
    write_table(output, layout.offsets, documents.offsets);
    write_table(output, layout.ids, documents.ids);
    write_table(output, layout.units, documents.units);
    write_table(output, layout.files, documents.files);
    write_table(output, layout.records, documents.records);
    write_table(output, layout.blocks, written.block_xxh3);
    KIBAN_CHECK(output.size() == bytes, "'{}' grew from {} to {} bytes", file.string(), bytes, output.size());
    output.sync("data.shard");
    output.close();
    return written;
}

struct Shard::Impl {
    static constexpr std::uint64_t kPartTokens = 1024;  // 256 KiB of directory for the 64 Mi tokens of a shard

    explicit Impl(const std::filesystem::path& file) : name(file), map(file) {
        try {
            read_structure();
        } catch (const IoError& error) {
            throw DataError("cannot read token shard '{}': {}", name.string(), error.what());
        }
        checked = std::make_unique<std::atomic<bool>[]>(block_xxh3.size());
    }

    std::span<const std::byte> payload(const Place& place) const {
        if (place.offset > map.bytes().size() || place.bytes > map.bytes().size() - place.offset) {
            throw IoError("its payload lies outside the file's {} bytes", map.bytes().size());
        }
        return map.bytes().subspan(static_cast<std::size_t>(place.offset), static_cast<std::size_t>(place.bytes));
    }

    template <typename T>
    std::vector<T> table(const Place& place) const {
        std::vector<T> values(static_cast<std::size_t>(place.bytes / sizeof(T)));
        std::ranges::copy(payload(place), std::as_writable_bytes(std::span(values)).begin());
        return values;
    }

    void read_structure() {
        const std::lock_guard lock(h5_mutex());
        H5Handle file = h5_open(name);
        if (const auto format = h5_read_string_attribute(file.id(), "format"); format != kFormat) {
            throw IoError("expected format '{}', found '{}'", kFormat, format);
        }
        const auto version = h5_read_integer_attribute(file.id(), "version");
        if (version > kShardVersion) {
            throw IoError("its format version is {}, this program reads up to {}", version, kShardVersion);
        }
        width = version < 2 ? 2 : 4;
        tokenizer = h5_read_string_attribute(file.id(), "tokenizer");
        tokenizer_sha256 = h5_read_string_attribute(file.id(), "tokenizer_sha256");
        vocabulary = static_cast<std::uint32_t>(h5_read_integer_attribute(file.id(), "vocabulary"));
        first_continues = h5_read_integer_attribute(file.id(), "first_document_continues") != 0;
        tokens = payload(find_dataset(file.id(), "tokens", id_type(width), 1));
        layout.offsets = find_dataset(file.id(), "doc_offsets", H5T_STD_U64LE, 1);
        offsets = payload(layout.offsets);
        if (offsets.size() < sizeof(std::uint64_t) || offset_of(document_count()) != token_count()) {
            throw IoError("its table of documents does not end with its {} tokens", token_count());
        }
        layout.ids = find_dataset(file.id(), "doc_id", H5T_STD_U8LE, 2);
        layout.units = find_dataset(file.id(), "doc_unit", H5T_STD_U32LE, 1);
        layout.files = find_dataset(file.id(), "doc_file", H5T_STD_U32LE, 1);
        layout.records = find_dataset(file.id(), "doc_rec", H5T_STD_U64LE, 1);
        block_xxh3 = table<std::uint64_t>(find_dataset(file.id(), "block_xxh3", H5T_STD_U64LE, 1));
        if (block_xxh3.size() != blocks_of(token_count())) {
            throw IoError("expected {} block checksums, found {}", blocks_of(token_count()), block_xxh3.size());
        }
    }

    std::uint64_t token_count() const { return tokens.size() / width; }

    std::uint64_t document_count() const { return offsets.size() / sizeof(std::uint64_t) - 1; }

    std::uint64_t offset_of(std::uint64_t n) const {
        std::uint64_t offset = 0;
        std::memcpy(&offset, offsets.data() + n * sizeof(offset), sizeof(offset));
        return offset;
    }

    /// The stored form of tokens [first, first + count).
    std::span<const std::byte> stored(std::uint64_t first, std::uint64_t count) const {
        return tokens.subspan(static_cast<std::size_t>(first * width), static_cast<std::size_t>(count * width));
    }

    /// The stored form of tokens [first, first + count), its blocks checked.
    const std::byte* checked_tokens(std::uint64_t first, std::uint64_t count) const {
        KIBAN_CHECK(first <= token_count() && count <= token_count() - first, "tokens {} to {} of {}", first,
                    first + count, token_count());
        if (count == 0) return nullptr;
        for (std::uint64_t block = first / kBlockTokens; block <= (first + count - 1) / kBlockTokens; ++block)
            check_block(block);
        return stored(first, count).data();
    }

    /// How many documents start at the first token of each part or before it, and how many there are; made when it is
    /// first needed.
    const std::vector<std::uint32_t>& directory() const {
        std::call_once(directory_made, [this] {
            const std::uint64_t parts = (token_count() + kPartTokens - 1) / kPartTokens;
            starts_until.reserve(static_cast<std::size_t>(parts + 1));
            std::uint64_t document = 0;
            for (std::uint64_t part = 0; part < parts; ++part) {
                while (document < document_count() && offset_of(document) <= part * kPartTokens) ++document;
                starts_until.push_back(static_cast<std::uint32_t>(document));
            }
            starts_until.push_back(static_cast<std::uint32_t>(document_count()));
        });
        return starts_until;
    }

    void check_block(std::uint64_t block) const {
        if (checked[block].load(std::memory_order_acquire)) return;
        const std::uint64_t first = block * kBlockTokens;
        const std::uint64_t count = std::min(kBlockTokens, token_count() - first);
        const auto part = stored(first, count);
        const std::uint64_t sum = XXH3_64bits(part.data(), part.size());
        if (sum != block_xxh3[block]) {
            throw DataError(
                "token shard '{}' is damaged in block {} (tokens {} to {}): expected checksum {:016x}, found {:016x}; "
                "delete its directory and prepare the corpus again",
                name.string(), block, first, first + count, block_xxh3[block], sum);
        }
        if (const std::uint32_t largest = largest_id(part, width); largest >= vocabulary) {
            throw DataError("token shard '{}' holds token {} in block {}, expected less than its vocabulary of {}",
                            name.string(), largest, block, vocabulary);
        }
        checked[block].store(true, std::memory_order_release);
    }

    std::filesystem::path name;
    Map map;
    std::string tokenizer;
    std::string tokenizer_sha256;
    std::uint32_t vocabulary = 0;
    std::uint32_t width = 2;  // bytes of an id
    bool first_continues = false;
    std::span<const std::byte> tokens;
    std::span<const std::byte> offsets;  // of documents
    Layout layout;
    std::vector<std::uint64_t> block_xxh3;
    std::unique_ptr<std::atomic<bool>[]> checked;
    mutable std::once_flag directory_made;
    mutable std::vector<std::uint32_t> starts_until;
};

Shard::Shard(const std::filesystem::path& file) : impl_(std::make_unique<Impl>(file)) {}
Shard::~Shard() = default;
Shard::Shard(Shard&&) noexcept = default;

const std::string& Shard::tokenizer() const { return impl_->tokenizer; }
const std::string& Shard::tokenizer_sha256() const { return impl_->tokenizer_sha256; }
std::uint32_t Shard::vocabulary() const { return impl_->vocabulary; }
std::uint64_t Shard::tokens() const { return impl_->token_count(); }
std::uint64_t Shard::bytes() const { return impl_->map.bytes().size(); }
std::span<const std::uint64_t> Shard::block_xxh3() const { return impl_->block_xxh3; }

void Shard::read(std::uint64_t first, std::span<std::int64_t> ids) const {
    load_ids(impl_->checked_tokens(first, ids.size()), impl_->width, ids);
}

void Shard::read(std::uint64_t first, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const {
    const std::byte* stored = impl_->checked_tokens(first, inputs.size() + 1);
    load_ids(stored, impl_->width, inputs);
    load_ids(stored + impl_->width, impl_->width, targets.first(inputs.size()));
}

void Shard::fetch(std::uint64_t first, std::uint64_t count) const {
    const std::byte* begin = impl_->tokens.data() + first * impl_->width;
    for (std::uint64_t byte = 0; byte < count * impl_->width; byte += kLineBytes) __builtin_prefetch(begin + byte);
}

void Shard::fetch_directory(std::uint64_t token) const {
    __builtin_prefetch(impl_->directory().data() + token / Impl::kPartTokens);
}

void Shard::fetch_documents(std::uint64_t token) const {
    const std::uint32_t document = impl_->directory()[static_cast<std::size_t>(token / Impl::kPartTokens)];
    __builtin_prefetch(impl_->offsets.data() + document * sizeof(std::uint64_t));
}

std::vector<std::int64_t> Shard::read(std::uint64_t first, std::uint64_t count) const {
    std::vector<std::int64_t> ids(static_cast<std::size_t>(count));
    read(first, ids);
    return ids;
}

void Shard::verify() const {
    for (std::uint64_t block = 0; block < impl_->block_xxh3.size(); ++block) impl_->check_block(block);
}

bool Shard::first_continues() const { return impl_->first_continues; }

std::uint64_t Shard::documents_until(std::uint64_t token) const {
    const std::vector<std::uint32_t>& directory = impl_->directory();
    const auto part = std::min(static_cast<std::size_t>(token / Impl::kPartTokens), directory.size() - 2);
    std::uint64_t first = directory[part];
    std::uint64_t end = directory[part + 1];
    while (first < end) {
        const std::uint64_t middle = first + (end - first) / 2;
        if (impl_->offset_of(middle) <= token)
            first = middle + 1;
        else
            end = middle;
    }
    return first;
}

std::uint64_t Shard::document_start(std::uint64_t n) const {
    const std::uint64_t start = impl_->offset_of(n);
    if (start > tokens() || (n > 0 && start <= impl_->offset_of(n - 1))) {
        throw DataError(
            "token shard '{}' is damaged in its table of documents: document {} starts at token {} of {}, the one "
            "before it at {}; delete its directory and prepare the corpus again",
            impl_->name.string(), n, start, tokens(), n > 0 ? impl_->offset_of(n - 1) : 0);
    }
    return start;
}

ShardDocuments Shard::documents() const {
    ShardDocuments documents;
    documents.offsets = impl_->table<std::uint64_t>(impl_->layout.offsets);
    documents.ids = impl_->table<DocumentId>(impl_->layout.ids);
    documents.units = impl_->table<std::uint32_t>(impl_->layout.units);
    documents.files = impl_->table<std::uint32_t>(impl_->layout.files);
    documents.records = impl_->table<std::uint64_t>(impl_->layout.records);
    documents.first_continues = impl_->first_continues;
    const std::size_t count = documents.size();
    if (documents.offsets.size() != count + 1 || documents.units.size() != count || documents.files.size() != count ||
        documents.records.size() != count) {
        throw DataError("token shard '{}' has tables of documents of different lengths", impl_->name.string());
    }
    return documents;
}

}  // namespace kiban::data
