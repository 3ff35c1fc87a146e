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
    if (to.empty()) return;
    const std::uint64_t first = offset / kCrcBlockBytes;
    const std::uint64_t last = (offset + to.size() - 1) / kCrcBlockBytes;
    const bool goes_on = last_.first == file && (last_.second == first || last_.second + 1 == first);
    if (first == last) {
        read_in_block(file, first, offset % kCrcBlockBytes, to);
    } else {
        read_blocks(file, offset, to);
    }
    last_ = {file, last};
    // Small requests in a row: the next one is likely to go on in the next block.
    if (goes_on && last - first <= 1 && find_cached(file, last) != nullptr) prefetch(file, last + 1);
}

void BlockReader::read_in_block(std::size_t file, std::uint64_t block, std::uint64_t in_block,
                                std::span<std::byte> to) {
    if (to.size() == block_size(file, block) && find_cached(file, block) == nullptr) return load_block(file, block, to);
    copy_cached(file, block, in_block, to);
}

void BlockReader::copy_cached(std::size_t file, std::uint64_t block, std::uint64_t in_block, std::span<std::byte> to) {
    CachedBlock& cached = cached_block(file, block);
    std::memcpy(to.data(), cached.bytes.data() + in_block, to.size());
    cached.used_up = in_block + to.size() == cached.bytes.size();
}

// All of them are on their way, a few at once, before the first is waited for.
void BlockReader::read_blocks(std::size_t file, std::uint64_t offset, std::span<std::byte> to) {
    std::deque<Coming> coming;
    try {
        while (!to.empty()) {
            const std::uint64_t block = offset / kCrcBlockBytes;
            const std::uint64_t in_block = offset % kCrcBlockBytes;
            const std::uint64_t size = block_size(file, block);
            const auto part = to.first(static_cast<std::size_t>(std::min<std::uint64_t>(to.size(), size - in_block)));
            if (coming.size() >= kMostComing) settle(file, coming);
            coming.push_back({block, in_block, part, {}});
            if (find_cached(file, block) == nullptr) {
                if (part.size() == size) {
                    coming.back().crc = loader().load(open_file(file), block * kCrcBlockBytes, part);
                } else {
                    begin_cached(file, block);
                }
            }
            to = to.subspan(part.size());
            offset += part.size();
        }
        while (!coming.empty()) settle(file, coming);
    } catch (...) {
        for (Coming& one : coming) {
            if (one.crc.valid()) one.crc.wait();  // it writes into the caller's buffer
        }
        throw;
    }
}

// Waits for the oldest one and checks it.
void BlockReader::settle(std::size_t file, std::deque<Coming>& coming) {
    Coming oldest = std::move(coming.front());
    coming.pop_front();
    if (oldest.crc.valid()) {
        touched_[file][oldest.block] = true;
        check(file, oldest.block, oldest.to, oldest.crc.get());
    } else {
        copy_cached(file, oldest.block, oldest.in_block, oldest.to);
    }
}

std::vector<std::string> BlockReader::check_rest(std::size_t file, bool& unreadable) {
    std::vector<std::string> faults;
    std::vector<std::byte> buffer(static_cast<std::size_t>(block_size(file, 0)));  // no block is larger
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

// A place for this block, holding nothing yet. Memory that was touched before is far cheaper than new memory: first
// those that were read to their end, then new ones, then what was not used for longest.
BlockReader::CachedBlock& BlockReader::free_place(std::size_t file, std::uint64_t block) {
    CachedBlock* used_up = nullptr;
    for (CachedBlock& cached : cache_) {
        if (cached.used_up && (used_up == nullptr || cached.last_use < used_up->last_use)) used_up = &cached;
    }
    CachedBlock& place = used_up != nullptr ? *used_up : *std::ranges::min_element(cache_, {}, &CachedBlock::last_use);
    if (place.coming.valid()) place.coming.wait();
    place.coming = {};
    place.last_use = 0;  // nothing, should the load fail
    place.used_up = false;
    place.file = file;
    place.block = block;
    const auto size = static_cast<std::size_t>(block_size(file, block));
    if (size > place.capacity) {
        place.storage = std::make_unique_for_overwrite<std::byte[]>(size);
        place.capacity = size;
    }
    place.bytes = {place.storage.get(), size};
    return place;
}

BlockReader::CachedBlock& BlockReader::cached_block(std::size_t file, std::uint64_t block) {
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
    cached->last_use = ++uses_;
    return *cached;
}

void BlockReader::prefetch(std::size_t file, std::uint64_t block) {
    if (block >= touched_[file].size() || touched_[file][block] || find_cached(file, block) != nullptr) return;
    begin_cached(file, block);
}

void BlockReader::begin_cached(std::size_t file, std::uint64_t block) {
    CachedBlock& place = free_place(file, block);
    place.coming = loader().load(open_file(file), block * kCrcBlockBytes, place.bytes);
    place.last_use = ++uses_;
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
