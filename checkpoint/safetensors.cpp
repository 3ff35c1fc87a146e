// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors.h"

#include <array>
#include <utility>

#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;

SafetensorsHeader read_header(const monitoring::File& file) {
    const std::string where = fmt::format("'{}'", file.name().string());
    const std::uint64_t bytes = file.size();
    std::array<std::byte, 8> start{};
    if (bytes >= start.size()) file.read_at(0, start);
    const std::uint64_t length = safetensors_header_bytes(start, bytes, where);
    std::string text(length, '\0');
    file.read_at(8, std::as_writable_bytes(std::span<char>(text)));
    return parse_safetensors_header(text, bytes - 8 - length, where);
}

fs::path partial_name(const fs::path& file) {
    return file.parent_path() / fmt::format(".{}.partial", file.filename().string());
}

}  // namespace

SafetensorsFile::SafetensorsFile(const fs::path& file)
    : file_(monitoring::File::open_read(file)), header_(read_header(file_)) {}

void SafetensorsFile::read(const SafeTensor& tensor, std::uint64_t offset, std::span<std::byte> to) const {
    KIBAN_CHECK(offset <= tensor.end - tensor.begin && to.size() <= tensor.end - tensor.begin - offset,
                "read {} bytes at {} of tensor '{}', which has {}", to.size(), offset, tensor.name,
                tensor.end - tensor.begin);
    file_.read_at(header_.data_begin + tensor.begin + offset, to);
}

SafetensorsWriter::SafetensorsWriter(fs::path file, std::vector<SafeTensor> tensors,
                                     const std::map<std::string, std::string>& metadata)
    : name_(std::move(file)), partial_(partial_name(name_)) {
    const std::string header = safetensors_header_text(tensors, metadata);
    left_ = tensors.empty() ? 0 : tensors.back().end;
    file_.emplace(monitoring::File::create(partial_));
    try {
        file_->preallocate(header.size() + left_);
        file_->append(std::as_bytes(std::span<const char>(header)));
    } catch (...) {
        std::error_code ignored;
        fs::remove(partial_, ignored);
        throw;
    }
}

SafetensorsWriter::~SafetensorsWriter() {
    if (!file_) return;
    std::error_code ignored;
    fs::remove(partial_, ignored);
}

void SafetensorsWriter::append(std::span<const std::byte> bytes) {
    KIBAN_CHECK(bytes.size() <= left_, "append {} bytes to '{}', whose tensors have {} left", bytes.size(),
                name_.string(), left_);
    file_->append(bytes);
    left_ -= bytes.size();
}

void SafetensorsWriter::close() {
    KIBAN_CHECK(left_ == 0, "close '{}', whose tensors have {} bytes left", name_.string(), left_);
    file_->sync();
    file_->close();
    monitoring::rename_durably(partial_, name_);
    file_.reset();
}

}  // namespace kiban::checkpoint
