// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shard_writer.h"

#include <fcntl.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <utility>

#include "checkpoint/manifest.h"
#include "monitoring/crc32c.h"
#include "monitoring/error.h"
#include "monitoring/fault.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using monitoring::File;

constexpr std::uint64_t kWriteBackBytes = 64u << 20;

void check_slice(const TensorSlice& slice) {
    check_tensor(slice.tensor);
    if (!lies_inside(slice.box, slice.tensor.shape)) {
        throw CheckpointError("cannot store tensor {}: box {} does not lie inside its shape {}",
                              to_string(slice.tensor.id), to_string(slice.box), to_string(slice.tensor.shape));
    }
    KIBAN_CHECK(slice.data != nullptr || num_elements(slice.box.extent) == 0, "tensor {} has no data",
                to_string(slice.tensor.id));
}

// Makes the file and room for all of it; nothing is left of it when that fails.
File create(const fs::path& name, std::uint64_t bytes) {
    try {
        File file = File::create(name);
        file.preallocate(bytes);
        return file;
    } catch (...) {
        monitoring::file_system().unlink(name);
        throw;
    }
}

ShardHeader make_header(const fs::path& name, int index, std::span<const TensorSlice> slices) {
    KIBAN_CHECK(index >= 0, "writer {}", index);
    for (const TensorSlice& slice : slices) check_slice(slice);
    if (monitoring::link_status_of(name).kind != monitoring::FileKind::none) {
        throw CheckpointError("cannot write '{}': it exists already, and a shard is never written over", name.string());
    }
    monitoring::fault_point("ckpt.header", name);
    return make_shard_header(name, index, slices);
}

}  // namespace

ShardWriter::Block::Block()
    : memory(static_cast<std::byte*>(std::aligned_alloc(monitoring::kDirectBytes, kCrcBlockBytes)), &std::free) {
    if (!memory) throw std::bad_alloc();
}

ShardWriter::ShardWriter(const fs::path& directory, int index, std::span<const TensorSlice> slices, bool direct)
    : ShardWriter(directory / shard_file_name(index), slices,
                  make_header(directory / shard_file_name(index), index, slices), direct) {}

ShardWriter::ShardWriter(fs::path name, std::span<const TensorSlice> slices, ShardHeader header, bool direct)
    : name_(std::move(name)), direct_(direct), header_(std::move(header.bytes)), file_(create(name_, header_.bytes)) {
    report_.file = name_.filename().string();
    report_.bytes = header_.bytes;
    for (std::size_t i = 0; i < slices.size(); ++i) {
        report_.boxes.push_back({slices[i].tensor, slices[i].box, header.offsets[i], 0});
        expected_ += bytes_of(slices[i].tensor, slices[i].box);
    }
    begin_block();
}

ShardWriter::~ShardWriter() {
    if (finished_) return;
    monitoring::file_system().unlink(name_);
}

void ShardWriter::write(std::size_t slice, std::uint64_t first, std::span<const std::byte> bytes) {
    StoredBox& stored = report_.boxes.at(slice);
    const std::size_t element = element_bytes(stored.tensor.dtype);
    KIBAN_CHECK(first % element == 0 && bytes.size() % element == 0 &&
                    first + bytes.size() <= bytes_of(stored.tensor, stored.box),
                "bytes {} to {} of box {} of tensor {}", first, first + bytes.size(), to_string(stored.box),
                to_string(stored.tensor.id));
    while (!bytes.empty()) {
        const auto chunk = bytes.first(std::min<std::size_t>(bytes.size(), kCrcBlockBytes));
        write_chunk(stored, first, chunk);
        first += chunk.size();
        bytes = bytes.subspan(chunk.size());
    }
}

void ShardWriter::write_chunk(StoredBox& stored, std::uint64_t first, std::span<const std::byte> chunk) {
    monitoring::fault_point("ckpt.payload", name_);
    place(stored.file_offset + first, chunk);
    written_ += chunk.size();
    const auto element = static_cast<std::int64_t>(first / element_bytes(stored.tensor.dtype));
    stored.fingerprint += fingerprint_of_range(stored.tensor, stored.box, element, chunk);
}

void ShardWriter::place(std::uint64_t offset, std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        const std::uint64_t in_block = offset % kCrcBlockBytes;
        const auto part =
            bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), kCrcBlockBytes - in_block)));
        while (block_ < offset / kCrcBlockBytes) end_block();
        if (block_ == offset / kCrcBlockBytes) {
            std::memcpy(memory_.memory.get() + in_block, part.data(), part.size());
        } else {
            place_late(offset, part);
        }
        offset += part.size();
        bytes = bytes.subspan(part.size());
    }
}

void ShardWriter::place_late(std::uint64_t offset, std::span<const std::byte> bytes) {
    file_.set_direct(false);
    file_.write_at(offset, bytes);
    late_.insert(offset / kCrcBlockBytes);
}

std::uint64_t ShardWriter::blocks() const { return (report_.bytes + kCrcBlockBytes - 1) / kCrcBlockBytes; }

std::uint64_t ShardWriter::bytes_in(std::uint64_t block) const {
    return std::min(kCrcBlockBytes, report_.bytes - std::min(report_.bytes, block * kCrcBlockBytes));
}

// What HDF5 wrote stands in it before payload comes, which may share its pages.
void ShardWriter::begin_block() {
    const std::uint64_t begin = block_ * kCrcBlockBytes;
    const std::uint64_t end = begin + bytes_in(block_);
    std::byte* memory = memory_.memory.get();
    std::memset(memory, 0, static_cast<std::size_t>(end - begin));
    for (const auto& extent : header_.extents) {
        const std::uint64_t from = std::max(begin, extent.offset);
        const std::uint64_t to = std::min(end, extent.offset + extent.bytes.size());
        if (from < to) std::memcpy(memory + (from - begin), extent.bytes.data() + (from - extent.offset), to - from);
    }
}

void ShardWriter::end_block() {
    const std::span<const std::byte> bytes(memory_.memory.get(), static_cast<std::size_t>(bytes_in(block_)));
    report_.block_crcs.push_back(monitoring::crc32c(bytes, 0));
    write_block();
    ++block_;
    begin_block();
}

void ShardWriter::write_block() {
    const std::uint64_t begin = block_ * kCrcBlockBytes;
    const std::span<const std::byte> bytes(memory_.memory.get(), static_cast<std::size_t>(bytes_in(block_)));
    std::size_t straight = 0;  // whole pages; what is left of the last block goes through the page cache
    if (direct_ && file_.set_direct(true))
        straight = bytes.size() / monitoring::kDirectBytes * monitoring::kDirectBytes;
    if (straight > 0) file_.write_at(begin, bytes.first(straight));
    if (straight == bytes.size()) return;
    file_.set_direct(false);
    file_.write_at(begin + straight, bytes.subspan(straight));
    start_write_back();
}

// Bounds the dirty pages that the final fsync has to wait for. A hint: its failure means nothing.
void ShardWriter::start_write_back() {
    const std::uint64_t end = (block_ + 1) * kCrcBlockBytes;
    if (end - started_ < kWriteBackBytes) return;
    ::sync_file_range(file_.descriptor(), static_cast<off_t>(started_), static_cast<off_t>(end - started_),
                      SYNC_FILE_RANGE_WRITE);
    started_ = end;
}

void ShardWriter::take_late_crcs() {
    file_.set_direct(false);
    for (const std::uint64_t block : late_) {
        const std::span bytes(memory_.memory.get(), static_cast<std::size_t>(bytes_in(block)));
        file_.read_at(block * kCrcBlockBytes, bytes);
        report_.block_crcs[block] = monitoring::crc32c(bytes, 0);
    }
}

ShardReport ShardWriter::finish() {
    KIBAN_CHECK(written_ == expected_, "{} of {} bytes of payload were written to '{}'", written_, expected_,
                name_.string());
    while (block_ < blocks()) end_block();
    take_late_crcs();
    file_.sync("ckpt.fsync");
    file_.close();
    finished_ = true;
    return std::move(report_);
}

}  // namespace kiban::checkpoint
