// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/safetensors_directory.h"

#include <nlohmann/json.hpp>

#include <set>
#include <utility>

#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr std::uint64_t kMaxIndexBytes = kMaxSafetensorsHeaderBytes;

// Of names that come twice, readers differ in which they take.
json parse_index(const fs::path& file) {
    const monitoring::File opened = monitoring::File::open_read(file);
    if (const std::uint64_t bytes = opened.size(); bytes > kMaxIndexBytes)
        throw CheckpointError("'{}' has {} bytes, expected at most {}", file.string(), bytes, kMaxIndexBytes);
    std::string text(opened.size(), '\0');
    opened.read_at(0, std::as_writable_bytes(std::span<char>(text)));
    std::vector<std::set<std::string>> keys;
    const auto check = [&](int depth, json::parse_event_t event, json& parsed) {
        if (depth > 8) throw CheckpointError("'{}' is nested too deeply", file.string());
        if (event == json::parse_event_t::object_start) keys.emplace_back();
        if (event == json::parse_event_t::object_end) keys.pop_back();
        if (event == json::parse_event_t::key && !keys.back().insert(parsed.get<std::string>()).second)
            throw CheckpointError("'{}': {} comes twice", file.string(), parsed.dump());
        return true;
    };
    try {
        return json::parse(text, check);
    } catch (const json::exception& error) {
        throw CheckpointError("'{}' is no JSON: {}", file.string(), error.what());
    }
}

bool is_plain_name(const std::string& name) {
    return !name.empty() && name.front() != '.' && name.find('/') == std::string::npos &&
           name.find('\0') == std::string::npos;
}

}  // namespace

SafetensorsDirectory::SafetensorsDirectory(const fs::path& directory) {
    const bool one = fs::exists(directory / kSafetensorsFile);
    const bool many = fs::exists(directory / kSafetensorsIndex);
    if (!one && !many) {
        throw CheckpointError("'{}' holds no model: expected '{}' or '{}' in it, found neither", directory.string(),
                              kSafetensorsFile, kSafetensorsIndex);
    }
    if (one && many) {
        throw CheckpointError("'{}' holds two models: both '{}' and '{}'; move one of them away", directory.string(),
                              kSafetensorsFile, kSafetensorsIndex);
    }
    if (one) {
        add_file(directory / kSafetensorsFile);
    } else {
        read_index(directory);
    }
}

void SafetensorsDirectory::add_file(const fs::path& file) {
    const SafetensorsFile opened(file);
    for (const SafeTensor& tensor : opened.header().tensors) {
        const auto [before, added] = files_.emplace(tensor.name, file);
        if (!added)
            throw CheckpointError("tensor '{}' stands in '{}' and in '{}'", tensor.name, before->second.string(),
                                  file.string());
        tensors_.emplace(tensor.name, tensor);
    }
}

void SafetensorsDirectory::read_index(const fs::path& directory) {
    const fs::path index = directory / kSafetensorsIndex;
    const json content = parse_index(index);
    const auto map = content.is_object() ? content.find("weight_map") : content.end();
    if (!content.is_object() || map == content.end() || !map->is_object())
        throw CheckpointError("'{}': expected an object with a 'weight_map', found none", index.string());
    std::set<std::string> files;
    for (const auto& [tensor, file] : map->items()) {
        if (!file.is_string() || !is_plain_name(file.get<std::string>()))
            throw CheckpointError("'{}': tensor '{}': expected the name of a file beside the index, found {}",
                                  index.string(), tensor, file.dump());
        files.insert(file.get<std::string>());
    }
    for (const std::string& file : files) add_file(directory / file);
    for (const auto& [tensor, file] : map->items()) {
        const auto found = files_.find(tensor);
        if (found == files_.end() || found->second.filename() != file.get<std::string>())
            throw CheckpointError("'{}': tensor '{}' is not in '{}', where the index has it", index.string(), tensor,
                                  file.get<std::string>());
    }
    for (const auto& [tensor, file] : files_) {
        if (!map->contains(tensor))
            throw CheckpointError("'{}' holds tensor '{}', which the index does not name", file.string(), tensor);
    }
}

const SafeTensor* SafetensorsDirectory::find(const std::string& name) const {
    const auto found = tensors_.find(name);
    return found == tensors_.end() ? nullptr : &found->second;
}

void SafetensorsDirectory::read(const SafeTensor& tensor, std::uint64_t offset, std::span<std::byte> to) const {
    const SafetensorsFile file(files_.at(tensor.name));
    file.read(tensor, offset, to);
}

SafetensorsDirectoryWriter::SafetensorsDirectoryWriter(fs::path directory, const std::vector<SafeTensor>& tensors,
                                                       std::uint64_t shard_bytes,
                                                       std::map<std::string, std::string> metadata)
    : directory_(std::move(directory)), metadata_(std::move(metadata)) {
    if (shard_bytes == 0) throw CheckpointError("files of 0 bytes cannot hold a tensor: expected at least 1");
    std::vector<SafeTensor> sized = tensors;
    safetensors_header_text(sized, metadata_);  // sizes, and refusals before anything is written
    std::uint64_t used = 0;
    for (const SafeTensor& tensor : sized) {
        const std::uint64_t bytes = tensor.end - tensor.begin;
        if (shards_.empty() || (!shards_.back().empty() && (used > shard_bytes || bytes > shard_bytes - used))) {
            shards_.emplace_back();
            used = 0;
        }
        shards_.back().push_back(tensor);
        used += bytes;
    }
    if (shards_.empty()) shards_.emplace_back();
}

std::string SafetensorsDirectoryWriter::file_name(std::size_t shard) const {
    if (shards_.size() == 1) return kSafetensorsFile;
    return fmt::format("model-{:05}-of-{:05}.safetensors", shard + 1, shards_.size());
}

void SafetensorsDirectoryWriter::append(std::span<const std::byte> tensor) {
    KIBAN_CHECK(shard_ < shards_.size(), "append a tensor to '{}', which has all of them", directory_.string());
    const std::vector<SafeTensor>& tensors = shards_[shard_];
    if (!writer_) writer_.emplace(directory_ / file_name(shard_), tensors, metadata_);
    KIBAN_CHECK(tensor.size() == tensors[tensor_].end - tensors[tensor_].begin,
                "append {} bytes as tensor '{}', which has {}", tensor.size(), tensors[tensor_].name,
                tensors[tensor_].end - tensors[tensor_].begin);
    writer_->append(tensor);
    if (++tensor_ < tensors.size()) return;
    writer_->close();
    writer_.reset();
    ++shard_;
    tensor_ = 0;
}

void SafetensorsDirectoryWriter::close() {
    KIBAN_CHECK(shard_ == shards_.size(), "close '{}': {} of {} files are written", directory_.string(), shard_,
                shards_.size());
    if (shards_.size() == 1) return;
    std::uint64_t total = 0;
    json map = json::object();
    for (std::size_t shard = 0; shard < shards_.size(); ++shard) {
        for (const SafeTensor& tensor : shards_[shard]) {
            total += tensor.end - tensor.begin;
            map[tensor.name] = file_name(shard);
        }
    }
    monitoring::publish(directory_ / kSafetensorsIndex,
                        json{{"metadata", {{"total_size", total}}}, {"weight_map", map}}.dump(2) + "\n");
}

}  // namespace kiban::checkpoint
