// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "checkpoint/block_reader.h"
#include "checkpoint/json_fields.h"
#include "checkpoint/manifest.h"
#include "checkpoint/reader.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

struct PlacedBox {
    const ManifestTensor* tensor = nullptr;
    const ManifestBox* box = nullptr;
};

// Boxes of one file in the order of their bytes, so that each block is read once.
std::vector<PlacedBox> boxes_of_file(const Manifest& manifest, std::size_t file) {
    std::vector<PlacedBox> boxes;
    for (const ManifestTensor& tensor : manifest.tensors) {
        for (const ManifestBox& box : tensor.boxes) {
            if (box.file == file) boxes.push_back({&tensor, &box});
        }
    }
    std::ranges::sort(boxes, {}, [](const PlacedBox& placed) { return placed.box->file_offset; });
    return boxes;
}

void verify_box(const PlacedBox& placed, BlockReader& blocks, const std::string& file, VerifyResult& result) {
    const TensorInfo& info = placed.tensor->info;
    const std::uint64_t bytes = bytes_of(info, placed.box->box);
    const std::size_t size = element_bytes(info.dtype);
    std::vector<std::byte> buffer(static_cast<std::size_t>(std::min(bytes, kCrcBlockBytes)));
    std::uint64_t print = 0;
    bool readable = true;
    for (std::uint64_t done = 0; done < bytes;) {
        const auto chunk =
            std::span(buffer).first(static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), bytes - done)));
        try {
            blocks.read(placed.box->file, placed.box->file_offset + done, chunk);
            print += fingerprint_of_range(info, placed.box->box, static_cast<std::int64_t>(done / size), chunk);
        } catch (const Error& fault) {
            if (std::ranges::find(result.faults, fault.what()) == result.faults.end())
                result.faults.emplace_back(fault.what());
            result.unreadable = result.unreadable || dynamic_cast<const IoError*>(&fault) != nullptr;
            readable = false;
        }
        done += chunk.size();
    }
    if (readable && print != placed.box->fingerprint) {
        result.faults.push_back(fmt::format("tensor {} box {} in '{}' has fingerprint {}, expected {}",
                                            to_string(info.id), to_string(placed.box->box), file, to_hex(print),
                                            to_hex(placed.box->fingerprint)));
    }
}

void verify_files(const std::filesystem::path& checkpoint, const Manifest& manifest, VerifyResult& result) {
    BlockReader blocks(checkpoint, manifest);
    for (std::size_t file = 0; file < manifest.files.size(); ++file) {
        const ManifestFile& shard = manifest.files[file];
        ++result.files;
        if (const auto fault = file_fault(checkpoint, shard)) {
            result.faults.push_back(*fault);
            continue;
        }
        result.bytes += shard.bytes;
        for (const PlacedBox& placed : boxes_of_file(manifest, file)) verify_box(placed, blocks, shard.name, result);
        std::ranges::move(blocks.check_rest(file, result.unreadable), std::back_inserter(result.faults));
    }
}

}  // namespace

VerifyResult verify_checkpoint(const std::filesystem::path& checkpoint) {
    VerifyResult result;
    try {
        const Committed committed = load_committed(checkpoint, FileCheck::none);
        result.files = 2;
        result.bytes = kCommitBytes + committed.record.manifest_bytes;
        result.tensors = committed.manifest.tensors.size();
        verify_files(checkpoint, committed.manifest, result);
        for (const std::string& name :
             strangers_in(checkpoint, committed.manifest.files, {kCommitName, kManifestName})) {
            result.faults.push_back(
                fmt::format("'{}' in checkpoint '{}' does not belong to it", name, checkpoint.string()));
        }
    } catch (const IoError& fault) {
        result.unreadable = true;
        result.faults.emplace_back(fault.what());
    } catch (const Error& fault) {
        result.faults.emplace_back(fault.what());
    }
    return result;
}

}  // namespace kiban::checkpoint
