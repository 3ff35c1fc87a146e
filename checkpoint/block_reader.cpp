// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/block_reader.h"

#include <algorithm>
#include <cstring>

#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

constexpr std::size_t kMostOpenFiles = 64;
constexpr std::size_t kMostNamedTensors = 3;
constexpr std::size_t kMostComing = 4;  // blocks of one call that are being read or checked at once

}  // namespace

BlockReader::BlockReader(std::filesystem::path directory, const Manifest& manifest)
    : directory_(std::move(directory)), manifest_(manifest) {
    for (const ManifestFile& file : manifest.files) touched_.emplace_back(file.block_crcs.size(), false);
}

BlockReader::~BlockReader() {
    for (CachedBlock& cached : cache_) {
        if (cached.coming.valid()) cached.coming.wait();  // its buffer goes
    }
}

void BlockReader::read(std::size_t file, std::uint64_t offset, std::span<std::byte> to) {
    std::vector<Coming> coming;
    try {
        while (!to.empty()) {
            const std::uint64_t block = offset / kCrcBlockBytes;
            const std::uint64_t in_block = offset % kCrcBlockBytes;
            const std::uint64_t size = block_size(file, block);
            const auto part = to.first(static_cast<std::size_t>(std::min<std::uint64_t>(to.size(), size - in_block)));
            const bool more = part.size() < to.size() || !coming.empty();
            if (part.size() == size && more && find_cached(file, block) == nullptr) {
                if (coming.size() >= kMostComing) settle(file, coming);
                coming.push_back({block, part, loader().load(open_file(file), block * kCrcBlockBytes, part)});
                last_ = {file, block};
            } else if (part.size() == size && find_cached(file, block) == nullptr) {
                load_block(file, block, part);
            } else {
                std::memcpy(part.data(), cached_block(file, block).data() + in_block, part.size());
            }
            to = to.subspan(part.size());
            offset += part.size();
        }
    } catch (...) {
        for (Coming& one : coming) one.crc.wait();  // they write into the caller's buffer
        throw;
    }
    while (!coming.empty()) settle(file, coming);
}

// Waits for the oldest one and checks it; when it is bad for the others too, and throws.
void BlockReader::settle(std::size_t file, std::vector<Coming>& coming) {
    Coming oldest = std::move(coming.front());
    coming.erase(coming.begin());
    try {
        touched_[file][oldest.block] = true;
        check(file, oldest.block, oldest.to, oldest.crc.get());
    } catch (...) {
        for (Coming& one : coming) one.crc.wait();
        throw;
    }
}

std::vector<std::string> BlockReader::check_rest(std::size_t file, bool& unreadable) {
    std::vector<std::string> faults;
    std::vector<std::byte> buffer(static_cast<std::size_t>(kCrcBlockBytes));
    for (std::uint64_t block = 0; block < touched_[file].size(); ++block) {
        if (touched_[file][block]) continue;
        try {
            load_block(file, block, std::span(buffer).first(static_cast<std::size_t>(block_size(file, block))));
        } catch (const IoError& fault) {
            unreadable = true;
            faults.emplace_back(fault.what());
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
    last_ = {file, block};
    check(file, block, to, read_with_crc(*open_file(file), block * kCrcBlockBytes, to));
}

void BlockReader::check(std::size_t file, std::uint64_t block, std::span<const std::byte> bytes, std::uint32_t crc) {
    const std::uint32_t expected = manifest_.files[file].block_crcs[block];
    if (crc == expected) return;
    const std::uint64_t begin = block * kCrcBlockBytes;
    throw CheckpointError("'{}' is damaged: block {} (bytes {} to {}) has CRC-32C {:08x}, expected {:08x}; it holds {}",
                          (directory_ / manifest_.files[file].name).string(), block, begin, begin + bytes.size(), crc,
                          expected, tensors_in(file, begin, begin + bytes.size()));
}

BlockReader::CachedBlock* BlockReader::find_cached(std::size_t file, std::uint64_t block) {
    for (CachedBlock& cached : cache_) {
        if (cached.last_use != 0 && cached.file == file && cached.block == block) return &cached;
    }
    return nullptr;
}

// The place of the block that was not used for longest, sized for this one and holding nothing yet.
BlockReader::CachedBlock& BlockReader::free_place(std::size_t file, std::uint64_t block) {
    CachedBlock& place = *std::ranges::min_element(cache_, {}, &CachedBlock::last_use);
    if (place.coming.valid()) place.coming.wait();
    place.coming = {};
    place.last_use = 0;  // nothing, should the load fail
    place.file = file;
    place.block = block;
    place.bytes.resize(static_cast<std::size_t>(block_size(file, block)));
    return place;
}

std::span<const std::byte> BlockReader::cached_block(std::size_t file, std::uint64_t block) {
    const bool goes_on = last_.first == file && (last_.second == block || last_.second + 1 == block);
    CachedBlock* cached = find_cached(file, block);
    if (cached == nullptr) {
        CachedBlock& place = free_place(file, block);
        load_block(file, block, place.bytes);
        cached = &place;
    } else if (cached->coming.valid()) {
        cached->last_use = 0;
        touched_[file][block] = true;
        check(file, block, cached->bytes, cached->coming.get());
    }
    last_ = {file, block};
    cached->last_use = ++uses_;
    if (goes_on) prefetch(file, block + 1);
    return cached->bytes;
}

void BlockReader::prefetch(std::size_t file, std::uint64_t block) {
    if (block >= touched_[file].size() || touched_[file][block] || find_cached(file, block) != nullptr) return;
    CachedBlock& place = free_place(file, block);
    place.coming = loader().load(open_file(file), block * kCrcBlockBytes, place.bytes);
    place.last_use = uses_;  // as recent as the block before it, which is not the oldest
}

std::shared_ptr<const monitoring::File> BlockReader::open_file(std::size_t file) {
    const auto found = open_.find(file);
    if (found != open_.end()) return found->second;
    if (open_.size() >= kMostOpenFiles) open_.clear();
    auto opened =
        std::make_shared<const monitoring::File>(monitoring::File::open_read(directory_ / manifest_.files[file].name));
    return open_.emplace(file, std::move(opened)).first->second;
}

BlockLoader& BlockReader::loader() {
    if (!loader_) loader_ = std::make_unique<BlockLoader>();
    return *loader_;
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
