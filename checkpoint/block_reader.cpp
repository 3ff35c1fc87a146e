// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/block_reader.h"

#include <algorithm>
#include <cstring>

#include "monitoring/crc32c.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

constexpr std::size_t kMostOpenFiles = 64;
constexpr std::size_t kMostNamedTensors = 3;

}  // namespace

BlockReader::BlockReader(std::filesystem::path directory, const Manifest& manifest)
    : directory_(std::move(directory)), manifest_(manifest) {
    for (const ManifestFile& file : manifest.files) touched_.emplace_back(file.block_crcs.size(), false);
}

void BlockReader::read(std::size_t file, std::uint64_t offset, std::span<std::byte> to) {
    while (!to.empty()) {
        const std::uint64_t block = offset / kCrcBlockBytes;
        const std::uint64_t in_block = offset % kCrcBlockBytes;
        const std::uint64_t size = block_size(file, block);
        const auto part = to.first(static_cast<std::size_t>(std::min<std::uint64_t>(to.size(), size - in_block)));
        if (part.size() == size) {
            load_block(file, block, part);
        } else {
            std::memcpy(part.data(), cached_block(file, block).data() + in_block, part.size());
        }
        to = to.subspan(part.size());
        offset += part.size();
    }
}

std::vector<std::string> BlockReader::check_rest(std::size_t file) {
    std::vector<std::string> faults;
    std::vector<std::byte> buffer(static_cast<std::size_t>(kCrcBlockBytes));
    for (std::uint64_t block = 0; block < touched_[file].size(); ++block) {
        if (touched_[file][block]) continue;
        try {
            load_block(file, block, std::span(buffer).first(static_cast<std::size_t>(block_size(file, block))));
        } catch (const Error& fault) {
            faults.emplace_back(fault.what());
        }
    }
    return faults;
}

std::uint64_t BlockReader::block_size(std::size_t file, std::uint64_t block) const {
    return std::min(kCrcBlockBytes, manifest_.files[file].bytes - block * kCrcBlockBytes);
}

void BlockReader::load_block(std::size_t file, std::uint64_t block, std::span<std::byte> to) {
    touched_[file][block] = true;
    const std::uint64_t begin = block * kCrcBlockBytes;
    open_file(file).read_at(begin, to);
    const std::uint32_t expected = manifest_.files[file].block_crcs[block];
    const std::uint32_t found = monitoring::crc32c(to);
    if (found == expected) return;
    throw CheckpointError("'{}' is damaged: block {} (bytes {} to {}) has CRC-32C {:08x}, expected {:08x}; it holds {}",
                          (directory_ / manifest_.files[file].name).string(), block, begin, begin + to.size(), found,
                          expected, tensors_in(file, begin, begin + to.size()));
}

std::span<const std::byte> BlockReader::cached_block(std::size_t file, std::uint64_t block) {
    ++uses_;
    for (CachedBlock& cached : cache_) {
        if (cached.last_use == 0 || cached.file != file || cached.block != block) continue;
        cached.last_use = uses_;
        return cached.bytes;
    }
    CachedBlock& oldest = *std::ranges::min_element(cache_, {}, &CachedBlock::last_use);
    oldest.last_use = 0;  // nothing, should the load fail
    oldest.bytes.resize(static_cast<std::size_t>(block_size(file, block)));
    load_block(file, block, oldest.bytes);
    oldest.file = file;
    oldest.block = block;
    oldest.last_use = uses_;
    return oldest.bytes;
}

const monitoring::File& BlockReader::open_file(std::size_t file) {
    const auto found = open_.find(file);
    if (found != open_.end()) return found->second;
    if (open_.size() >= kMostOpenFiles) open_.clear();
    return open_.emplace(file, monitoring::File::open_read(directory_ / manifest_.files[file].name)).first->second;
}

std::string BlockReader::tensors_in(std::size_t file, std::uint64_t begin, std::uint64_t end) const {
    std::string names;
    std::size_t count = 0;
    for (const ManifestTensor& tensor : manifest_.tensors) {
        for (const ManifestBox& box : tensor.boxes) {
            const std::uint64_t bytes = bytes_of(tensor.info, box.box);
            if (box.file != file || bytes == 0 || box.file_offset >= end || box.file_offset + bytes <= begin) continue;
            if (++count > kMostNamedTensors) continue;
            names += (count > 1 ? ", " : "tensor ") + to_string(tensor.info.id) + " box " + to_string(box.box);
        }
    }
    if (count == 0) return "no tensor, only HDF5's own records";
    return count > kMostNamedTensors ? fmt::format("{} and {} more", names, count - kMostNamedTensors) : names;
}

}  // namespace kiban::checkpoint
