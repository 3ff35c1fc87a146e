// SPDX-License-Identifier: Apache-2.0
// Reading a committed checkpoint, on any layout: for each wanted box, intersect with the stored boxes, read the rows,
// verify, copy.
//
// Every block that is read is checked against its CRC-32C as it is read; a mismatch is a CheckpointError naming file,
// block and tensor. HDF5 is not needed for reading. A reader may be used from several threads; they take turns.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/tensor.h"

namespace kiban::checkpoint {

class CheckpointReader {
  public:
    /// Reads and checks COMMIT and MANIFEST, and the sizes of all files. CheckpointError names what is wrong.
    explicit CheckpointReader(const std::filesystem::path& checkpoint);
    ~CheckpointReader();
    CheckpointReader(CheckpointReader&&) noexcept;

    std::uint64_t step() const;
    std::uint32_t attempt() const;
    const nlohmann::json& state() const;
    const std::vector<TensorInfo>& tensors() const;
    bool has(const TensorId& id) const;
    std::uint64_t fingerprint_of(const TensorId& id) const;  // of the whole tensor

    /// Fills `to` (the box, contiguous, row-major). CheckpointError: unknown tensor, box outside its shape, damaged
    /// block.
    void read(const TensorId& id, const Box& box, void* to) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

struct VerifyResult {
    std::uint64_t files = 0;
    std::uint64_t bytes = 0;
    std::uint64_t tensors = 0;
    std::vector<std::string> faults;  // empty: every byte is good
    bool unreadable = false;          // something could not be read now: that may pass, and says nothing of the bytes
};

/// Re-reads every byte of every file and every fingerprint (`kiban verify`). Never throws for damage: lists it.
VerifyResult verify_checkpoint(const std::filesystem::path& checkpoint);

}  // namespace kiban::checkpoint
