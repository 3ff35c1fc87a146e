// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shard_writer.h"

#include <fcntl.h>

#include <algorithm>
#include <utility>

#include "checkpoint/manifest.h"
#include "checkpoint/shard_header.h"
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

// Makes the file with HDF5's header and room for the payload; nothing of it is left when that fails.
File create_header(const fs::path& name, int index, std::span<const TensorSlice> slices,
                   std::vector<std::uint64_t>& offsets) {
    KIBAN_CHECK(index >= 0, "writer {}", index);
    for (const TensorSlice& slice : slices) check_slice(slice);
    if (monitoring::link_status_of(name).kind != monitoring::FileKind::none) {
        throw CheckpointError("cannot write '{}': it exists already, and a shard is never written over", name.string());
    }
    try {
        monitoring::fault_point("ckpt.header", name);
        ShardHeader header = make_shard_header(name, index, slices);
        offsets = std::move(header.offsets);
        File file = File::create(name);
        file.preallocate(header.bytes.bytes);
        for (const auto& extent : header.bytes.extents) file.write_at(extent.offset, extent.bytes);
        return file;
    } catch (...) {
        monitoring::file_system().unlink(name);
        throw;
    }
}

}  // namespace

void BlockCrcs::add(std::span<const std::byte> bytes) {
    while (!bytes.empty()) {
        if (filled_ == kCrcBlockBytes) finish_block();
        const auto part =
            bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), kCrcBlockBytes - filled_)));
        crc_ = monitoring::crc32c(part, crc_);
        filled_ += part.size();
        bytes = bytes.subspan(part.size());
    }
}

std::vector<std::uint32_t> BlockCrcs::finish() {
    if (filled_ > 0) finish_block();
    return std::exchange(crcs_, {});
}

void BlockCrcs::finish_block() {
    crcs_.push_back(crc_);
    crc_ = 0;
    filled_ = 0;
}

ShardWriter::ShardWriter(const fs::path& directory, int index, std::span<const TensorSlice> slices)
    : ShardWriter(directory / shard_file_name(index), slices, index, {}) {}

ShardWriter::ShardWriter(fs::path name, std::span<const TensorSlice> slices, int index,
                         std::vector<std::uint64_t> offsets)
    : name_(std::move(name)), file_(create_header(name_, index, slices, offsets)) {
    report_.file = name_.filename().string();
    report_.bytes = file_.size();
    for (std::size_t i = 0; i < slices.size(); ++i) {
        report_.boxes.push_back({slices[i].tensor, slices[i].box, offsets[i], 0});
        expected_ += bytes_of(slices[i].tensor, slices[i].box);
    }
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
    file_.write_at(stored.file_offset + first, chunk);
    written_ += chunk.size();
    take_crc(stored.file_offset + first, chunk);
    start_write_back();  // the disk works while this chunk, still in the cache, is fingerprinted
    const auto element = static_cast<std::int64_t>(first / element_bytes(stored.tensor.dtype));
    stored.fingerprint += fingerprint_of_range(stored.tensor, stored.box, element, chunk);
}

// What HDF5 wrote between the datasets is read back; so is everything when the parts do not come in the file's order.
void ShardWriter::take_crc(std::uint64_t offset, std::span<const std::byte> chunk) {
    if (offset < at_) in_order_ = false;
    if (!in_order_) return;
    read_crcs_until(offset);
    crcs_.add(chunk);
    at_ = offset + chunk.size();
}

void ShardWriter::read_crcs_until(std::uint64_t end) {
    buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(end - at_, kCrcBlockBytes)));
    while (at_ < end) {
        const auto part =
            std::span(buffer_).first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), end - at_)));
        file_.read_at(at_, part);
        crcs_.add(part);
        at_ += part.size();
    }
}

// Bounds the dirty pages that the final fsync has to wait for. A hint: its failure means nothing.
void ShardWriter::start_write_back() {
    if (!in_order_ || at_ - started_ < kWriteBackBytes) return;
    ::sync_file_range(file_.descriptor(), static_cast<off_t>(started_), static_cast<off_t>(at_ - started_),
                      SYNC_FILE_RANGE_WRITE);
    started_ = at_;
}

ShardReport ShardWriter::finish() {
    KIBAN_CHECK(written_ == expected_, "{} of {} bytes of payload were written to '{}'", written_, expected_,
                name_.string());
    if (!in_order_) {
        crcs_ = {};
        at_ = 0;
    }
    read_crcs_until(report_.bytes);
    report_.block_crcs = crcs_.finish();
    file_.sync("ckpt.fsync");
    file_.close();
    finished_ = true;
    return std::move(report_);
}

}  // namespace kiban::checkpoint
