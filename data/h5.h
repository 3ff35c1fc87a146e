// SPDX-License-Identifier: Apache-2.0
// The HDF5 library behind move-only handles; the only header that includes hdf5.h.
//
// The library is not thread-safe: every call below takes the process-wide lock h5_mutex(); callers of raw H5* functions
// hold it themselves. The first use calls H5dont_atexit(), turns file locking off and silences the library's own error
// printing. Every negative return code becomes an IoError with the library's innermost message.
#pragma once

#include <hdf5.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <mutex>
#include <span>
#include <string>

namespace kiban::data {

std::recursive_mutex& h5_mutex();

/// Owns one HDF5 identifier; closes it with its own function. close() reports failure, the destructor logs it.
class H5Handle {
  public:
    using Closer = herr_t (*)(hid_t);
    H5Handle(hid_t id, Closer closer, const std::string& operation);  // IoError when id is negative
    H5Handle(H5Handle&& other) noexcept;
    H5Handle& operator=(H5Handle&& other) noexcept;
    ~H5Handle();
    hid_t id() const { return id_; }
    void close();

  private:
    hid_t id_;
    Closer closer_;
};

/// Throws IoError naming the operation when a code is negative.
void h5_check(herr_t code, const std::string& operation);

H5Handle h5_create(
    const std::filesystem::path& file);  // v1.10 format (checksummed metadata), 4 KiB alignment; must not exist
/// As h5_create, with access properties that the caller adds to (data/h5_image.h).
H5Handle h5_create_with(const std::filesystem::path& file, const std::function<void(hid_t)>& add_properties);
H5Handle h5_open(const std::filesystem::path& file);  // read only

/// A dataset whose payload is written past the library (monitoring/file.h) at h5_payload_offset() once the file is
/// closed: contiguous, allocated now, never filled, no times. An empty shape is a scalar.
H5Handle h5_raw_dataset(hid_t parent, const std::string& name, hid_t type, std::span<const hsize_t> shape);
/// Bytes from the start of the file to the dataset's first element. IoError when it is not contiguous or not allocated.
std::uint64_t h5_payload_offset(hid_t dataset, const std::string& name);

void h5_write_attribute(hid_t object, const std::string& name, const std::string& value);
void h5_write_attribute(hid_t object, const std::string& name, std::uint64_t value);
std::string h5_read_string_attribute(hid_t object, const std::string& name);
std::uint64_t h5_read_integer_attribute(hid_t object, const std::string& name);

}  // namespace kiban::data
