// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shard.h"

#include <fcntl.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include "checkpoint/json_fields.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard_header.h"
#include "monitoring/crc32c.h"
#include "monitoring/error.h"
#include "monitoring/fault.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {
namespace {

using monitoring::File;

constexpr std::uint64_t kWriteBackBytes = 64u << 20;
constexpr const char* kReport = "shard report";

// CRCs of the blocks of a file whose bytes pass by in order.
class BlockCrcs {
  public:
    void add(std::span<const std::byte> bytes) {
        while (!bytes.empty()) {
            if (filled_ == kCrcBlockBytes) finish_block();
            const auto part =
                bytes.first(static_cast<std::size_t>(std::min<std::uint64_t>(bytes.size(), kCrcBlockBytes - filled_)));
            crc_ = monitoring::crc32c(part, crc_);
            filled_ += part.size();
            bytes = bytes.subspan(part.size());
        }
    }

    std::vector<std::uint32_t> finish() {
        if (filled_ > 0) finish_block();
        return std::move(crcs_);
    }

  private:
    void finish_block() {
        crcs_.push_back(crc_);
        crc_ = 0;
        filled_ = 0;
    }

    std::vector<std::uint32_t> crcs_;
    std::uint32_t crc_ = 0;
    std::uint64_t filled_ = 0;
};

// Writes the payload front to back, taking the CRC of everything on the way: what HDF5 wrote between the datasets is
// read back.
class PayloadWriter {
  public:
    explicit PayloadWriter(File& file) : file_(file) {}

    /// Returns the fingerprint of the slice.
    std::uint64_t write(const TensorSlice& slice, std::uint64_t file_offset) {
        pass_header(file_offset);
        std::span<const std::byte> rest(static_cast<const std::byte*>(slice.data),
                                        static_cast<std::size_t>(bytes_of(slice.tensor, slice.box)));
        const std::size_t element = element_bytes(slice.tensor.dtype);
        std::uint64_t print = 0;
        std::int64_t first = 0;
        while (!rest.empty()) {
            const auto chunk = rest.first(std::min<std::size_t>(rest.size(), kCrcBlockBytes));
            monitoring::fault_point("ckpt.payload", file_.name());
            file_.write_at(at_, chunk);
            at_ += chunk.size();
            crcs_.add(chunk);
            start_write_back();  // the disk works while this chunk, still in the cache, is fingerprinted
            print += fingerprint_of_range(slice.tensor, slice.box, first, chunk);
            first += static_cast<std::int64_t>(chunk.size() / element);
            rest = rest.subspan(chunk.size());
        }
        return print;
    }

    std::vector<std::uint32_t> finish(std::uint64_t file_bytes) {
        pass_header(file_bytes);
        return crcs_.finish();
    }

  private:
    void pass_header(std::uint64_t until) {
        if (until < at_)
            throw InternalError("dataset at offset {} of '{}' overlaps one that ends at {}", until,
                                file_.name().string(), at_);
        buffer_.resize(static_cast<std::size_t>(std::min<std::uint64_t>(until - at_, kCrcBlockBytes)));
        while (at_ < until) {
            const auto part = std::span(buffer_).first(
                static_cast<std::size_t>(std::min<std::uint64_t>(buffer_.size(), until - at_)));
            file_.read_at(at_, part);
            crcs_.add(part);
            at_ += part.size();
        }
    }

    // Bounds the dirty pages that the final fsync has to wait for. A hint: its failure means nothing.
    void start_write_back() {
        if (at_ - started_ < kWriteBackBytes) return;
        ::sync_file_range(file_.descriptor(), static_cast<off_t>(started_), static_cast<off_t>(at_ - started_),
                          SYNC_FILE_RANGE_WRITE);
        started_ = at_;
    }

    File& file_;
    BlockCrcs crcs_;
    std::vector<std::byte> buffer_;
    std::uint64_t at_ = 0;
    std::uint64_t started_ = 0;
};

void check_slice(const TensorSlice& slice) {
    check_tensor(slice.tensor);
    if (!lies_inside(slice.box, slice.tensor.shape)) {
        throw CheckpointError("cannot store tensor {}: box {} does not lie inside its shape {}",
                              to_string(slice.tensor.id), to_string(slice.box), to_string(slice.tensor.shape));
    }
    KIBAN_CHECK(slice.data != nullptr || num_elements(slice.box.extent) == 0, "tensor {} has no data",
                to_string(slice.tensor.id));
}

ShardReport write_file(const std::filesystem::path& name, int index, std::span<const TensorSlice> slices) {
    monitoring::fault_point("ckpt.header", name);
    const auto [header, offsets] = make_shard_header(name, index, slices);
    File file = File::create(name);
    ShardReport report;
    report.file = name.filename().string();
    report.bytes = header.bytes;
    file.preallocate(report.bytes);
    for (const auto& extent : header.extents) file.write_at(extent.offset, extent.bytes);
    for (std::size_t i = 0; i < slices.size(); ++i)
        report.boxes.push_back({slices[i].tensor, slices[i].box, offsets[i], 0});
    std::vector<std::size_t> order(slices.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t i) { return offsets[i]; });
    PayloadWriter writer(file);
    for (const std::size_t i : order) {
        if (num_elements(slices[i].box.extent) == 0) continue;
        report.boxes[i].fingerprint = writer.write(slices[i], offsets[i]);
    }
    report.block_crcs = writer.finish(report.bytes);
    file.sync("ckpt.fsync");
    file.close();
    return report;
}

}  // namespace

nlohmann::json to_json(const ShardReport& report) {
    nlohmann::json boxes = nlohmann::json::array();
    for (const StoredBox& stored : report.boxes) {
        nlohmann::json json = to_json(stored.tensor);
        json["offset"] = stored.box.offset;
        json["extent"] = stored.box.extent;
        json["file_offset"] = stored.file_offset;
        json["fingerprint"] = to_hex(stored.fingerprint);
        boxes.push_back(std::move(json));
    }
    return {
        {"file", report.file}, {"bytes", report.bytes}, {"block_crcs", report.block_crcs}, {"boxes", std::move(boxes)}};
}

ShardReport shard_report_from_json(const nlohmann::json& json) {
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    const JsonFields fields(json, kReport);
    ShardReport report;
    report.file = fields.text("file");
    report.bytes = fields.number("bytes", kMost);
    for (const nlohmann::json& crc : fields.array("block_crcs")) {
        const std::uint64_t value =
            json_number(crc, fields.where("block_crcs"), std::numeric_limits<std::uint32_t>::max());
        report.block_crcs.push_back(static_cast<std::uint32_t>(value));
    }
    for (const nlohmann::json& item : fields.array("boxes")) {
        const JsonFields box(item, fields.where("boxes"));
        report.boxes.push_back({tensor_info_from_json(item, fields.where("boxes")),
                                {box.shape("offset"), box.shape("extent")},
                                box.number("file_offset", kMost),
                                box.hex("fingerprint")});
        const StoredBox& stored = report.boxes.back();
        if (!lies_inside(stored.box, stored.tensor.shape)) {
            throw CheckpointError("cannot use {}: box {} of tensor {} does not lie inside its shape {}", kReport,
                                  to_string(stored.box), to_string(stored.tensor.id), to_string(stored.tensor.shape));
        }
    }
    return report;
}

std::string shard_file_name(int index) { return fmt::format("shard-{:05}.h5", index); }

ShardReport write_shard(const std::filesystem::path& directory, int index, std::span<const TensorSlice> slices) {
    KIBAN_CHECK(index >= 0, "writer {}", index);
    for (const TensorSlice& slice : slices) check_slice(slice);
    const std::filesystem::path name = directory / shard_file_name(index);
    std::error_code error;
    if (std::filesystem::exists(std::filesystem::symlink_status(name, error))) {
        throw CheckpointError("cannot write '{}': it exists already, and a shard is never written over", name.string());
    }
    try {
        return write_file(name, index, slices);
    } catch (...) {
        std::filesystem::remove(name, error);  // a file that failed is never used again; its space is wanted
        throw;
    }
}

}  // namespace kiban::checkpoint
