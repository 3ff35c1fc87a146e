// SPDX-License-Identifier: Apache-2.0
// An HDF5 file that the library makes in memory, to be written to a disk through monitoring/file.h: the library's own
// write path neither syncs nor survives a full disk well.
//
// The memory is sparse: space that a dataset reserves and nobody fills costs nothing. IoError when the library refuses.
// One thread for one image; raw H5* calls on it under h5_mutex().
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/h5.h"

namespace kiban::data {

/// What the library wrote: `bytes` long, zero but for the extents (ascending, disjoint, whole pages but for the last).
struct H5Bytes {
    struct Extent {
        std::uint64_t offset = 0;
        std::vector<std::byte> bytes;
    };
    std::uint64_t bytes = 0;
    std::vector<Extent> extents;
};

class H5Image {
  public:
    /// Format and alignment of h5_create(). `label` stands in messages and at fault point h5.create.
    explicit H5Image(const std::string& label);
    ~H5Image();
    H5Image(const H5Image&) = delete;
    H5Image& operator=(const H5Image&) = delete;

    hid_t file() const { return file_.id(); }
    /// Closes the file; every other handle into it must be closed before.
    H5Bytes finish();

    struct Pages;  // of data/h5_image.cpp

  private:
    std::unique_ptr<Pages> pages_;
    H5Handle file_;
};

}  // namespace kiban::data
