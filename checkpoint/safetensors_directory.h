// SPDX-License-Identifier: Apache-2.0
// The weights of a model in the ecosystem's layout: DIR/model.safetensors, or several files and
// DIR/model.safetensors.index.json, which says which tensor stands where.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <span>
#include <string>
#include <vector>

#include "checkpoint/safetensors.h"

namespace kiban::checkpoint {

inline constexpr const char* kSafetensorsFile = "model.safetensors";
inline constexpr const char* kSafetensorsIndex = "model.safetensors.index.json";

class SafetensorsDirectory {
  public:
    /// Reads and checks the headers of all files. CheckpointError when there is no file, when index and files differ,
    /// or when the index names a file outside of the directory.
    explicit SafetensorsDirectory(const std::filesystem::path& directory);

    const std::map<std::string, SafeTensor>& tensors() const { return tensors_; }
    /// Null when there is none of this name.
    const SafeTensor* find(const std::string& name) const;
    /// Fills `to` with bytes of a tensor of tensors().
    void read(const SafeTensor& tensor, std::uint64_t offset, std::span<std::byte> to) const;

  private:
    void add_file(const std::filesystem::path& file);
    void read_index(const std::filesystem::path& directory);

    std::map<std::string, SafeTensor> tensors_;
    std::map<std::string, std::filesystem::path> files_;  // by tensor
};

/// Writes such a directory, tensor by tensor in the order in which they are given.
class SafetensorsDirectoryWriter {
  public:
    /// Plans files of at most `shard_bytes` of tensors, or of one larger tensor. `directory` must be there.
    /// CheckpointError for shard_bytes 0.
    SafetensorsDirectoryWriter(std::filesystem::path directory, const std::vector<SafeTensor>& tensors,
                               std::uint64_t shard_bytes, std::map<std::string, std::string> metadata);

    /// All bytes of the next tensor.
    void append(std::span<const std::byte> tensor);
    /// Writes the index where there is more than one file. InternalError when tensors are missing.
    void close();
    std::size_t files() const { return shards_.size(); }

  private:
    std::string file_name(std::size_t shard) const;

    std::filesystem::path directory_;
    std::map<std::string, std::string> metadata_;
    std::vector<std::vector<SafeTensor>> shards_;
    std::size_t shard_ = 0;   // under way
    std::size_t tensor_ = 0;  // the next one of it
    std::optional<SafetensorsWriter> writer_;
};

}  // namespace kiban::checkpoint
