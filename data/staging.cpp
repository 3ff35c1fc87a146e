// SPDX-License-Identifier: Apache-2.0
#include "data/staging.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <random>

#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

static_assert(std::endian::native == std::endian::little, "Kiban's files are little-endian and are mapped as they are");

using Magic = std::array<char, 8>;
constexpr Magic kNarrow = {'K', 'I', 'B', 'A', 'N', 'U', 'N', '1'};  // ids of 2 bytes
constexpr Magic kWide = {'K', 'I', 'B', 'A', 'N', 'U', 'N', '2'};    // of 4
constexpr std::size_t kBufferBytes = 4u << 20;

struct Footer {  // the last bytes of a staged unit
    std::uint64_t tokens = 0;
    std::uint64_t documents = 0;
    std::uint64_t result_bytes = 0;
    Magic magic{};
};

const Magic& magic_of(std::uint32_t id_bytes) { return id_bytes == 2 ? kNarrow : kWide; }

std::uint64_t documents_offset(std::uint64_t tokens, std::uint32_t id_bytes) {
    return (sizeof(Magic) + tokens * id_bytes + 7) / 8 * 8;
}

bool is_there(const std::filesystem::path& name) { return monitoring::anything_at(name); }

std::uint64_t random_bits() {
    std::random_device device;
    return std::uint64_t{device()} << 32 | device();
}

[[noreturn]] void refuse(const std::filesystem::path& name) {
    throw IoError("cannot read staged unit '{}': it is damaged; delete the directory '{}' and start again",
                  name.string(), name.parent_path().string());
}

}  // namespace

Temporary::Temporary(const std::filesystem::path& directory, std::string_view stem)
    : path_(directory / fmt::format("{}.{:016x}.tmp", stem, random_bits())) {}

Temporary::~Temporary() {
    if (!path_.empty()) ::unlink(path_.c_str());
}

void Temporary::publish(const std::filesystem::path& name, std::string_view fault_point) {
    if (is_there(name)) return;
    try {
        monitoring::rename_durably(path_, name, fault_point);
    } catch (const IoError&) {
        if (!is_there(name)) throw;  // otherwise another process was faster
    }
}

void publish_through(const std::filesystem::path& staging, const std::filesystem::path& name, std::string_view content,
                     std::string_view fault_point) {
    Temporary temporary(staging, "file");
    auto file = monitoring::File::create(temporary.path());
    file.append(std::as_bytes(std::span(content)));
    file.sync(fault_point);
    file.close();
    temporary.publish(name, fault_point);
}

StagedUnitWriter::StagedUnitWriter(const std::filesystem::path& staging, std::uint32_t id_bytes)
    : temporary_(staging, "unit"),
      file_(monitoring::File::create(temporary_.path())),
      id_bytes_(id_bytes),
      buffer_(kBufferBytes) {
    file_.append(std::as_bytes(std::span(magic_of(id_bytes_))));
}

void StagedUnitWriter::add(std::span<const std::uint32_t> ids) {
    const std::size_t bytes = ids.size() * id_bytes_;
    if (buffer_.size() - used_ < bytes) flush();
    if (buffer_.size() < bytes) buffer_.resize(bytes);
    store_ids(ids, id_bytes_, buffer_.data() + used_);
    used_ += bytes;
    tokens_ += ids.size();
}

void StagedUnitWriter::flush() {
    file_.append(std::span(buffer_).first(used_));
    used_ = 0;
}

void StagedUnitWriter::publish(const std::filesystem::path& name, const nlohmann::json& result) {
    flush();
    const std::array<std::byte, 8> padding{};
    const std::uint64_t end = sizeof(Magic) + tokens_ * id_bytes_;
    file_.append(std::span(padding).first(static_cast<std::size_t>(documents_offset(tokens_, id_bytes_) - end)));
    file_.append(std::as_bytes(std::span(documents_)));
    const std::string text = result.dump();
    file_.append(std::as_bytes(std::span(text)));
    const Footer footer{tokens_, documents_.size(), text.size(), magic_of(id_bytes_)};
    file_.append(std::as_bytes(std::span(&footer, 1)));
    file_.sync("data.unit");
    file_.close();
    temporary_.publish(name, "data.unit");
}

StagedUnit::StagedUnit(monitoring::File file, std::uint32_t id_bytes, std::uint64_t tokens, std::uint64_t documents,
                       nlohmann::json result)
    : file_(std::move(file)), id_bytes_(id_bytes), tokens_(tokens), documents_(documents), result_(std::move(result)) {}

std::optional<StagedUnit> StagedUnit::open(const std::filesystem::path& name) {
    auto opened = monitoring::File::open_read_if_exists(name);
    if (!opened) return std::nullopt;
    monitoring::File& file = *opened;
    Footer footer;
    if (file.size() < sizeof(Magic) + sizeof(footer)) refuse(name);
    file.read_at(file.size() - sizeof(footer), std::as_writable_bytes(std::span(&footer, 1)));
    const std::uint64_t limit = file.size();
    if (footer.magic != kNarrow && footer.magic != kWide) refuse(name);
    const std::uint32_t id_bytes = footer.magic == kNarrow ? 2 : 4;
    if (footer.tokens > limit || footer.documents > limit || footer.result_bytes > limit) refuse(name);
    const std::uint64_t result_at =
        documents_offset(footer.tokens, id_bytes) + footer.documents * sizeof(StagedDocument);
    if (result_at + footer.result_bytes + sizeof(footer) != file.size()) refuse(name);
    std::string text(footer.result_bytes, '\0');
    file.read_at(result_at, std::as_writable_bytes(std::span(text)));
    auto result = nlohmann::json::parse(text, nullptr, false);
    if (result.is_discarded()) refuse(name);
    return StagedUnit(std::move(file), id_bytes, footer.tokens, footer.documents, std::move(result));
}

std::vector<StagedDocument> StagedUnit::documents() const {
    std::vector<StagedDocument> documents(documents_);
    file_.read_at(documents_offset(tokens_, id_bytes_), std::as_writable_bytes(std::span(documents)));
    return documents;
}

void StagedUnit::read_tokens(std::uint64_t first, std::span<std::uint32_t> ids) const {
    KIBAN_CHECK(first + ids.size() <= tokens_, "tokens {} to {} of {}", first, first + ids.size(), tokens_);
    std::vector<std::byte> stored(ids.size() * id_bytes_);
    file_.read_at(sizeof(Magic) + first * id_bytes_, stored);
    load_ids(stored.data(), id_bytes_, ids);
}

}  // namespace kiban::data
