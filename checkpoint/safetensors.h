// SPDX-License-Identifier: Apache-2.0
// Files in the ecosystem's safetensors format: 8 bytes length of the header (little-endian), the header (JSON), the
// elements of all tensors without gaps. Bytes, dtypes and shapes only; what tensors mean:
// coordinator/job/interchange.h.
//
// A header is untrusted: CheckpointError says what is wrong for everything that the format does not allow. Source: the
// format's description and its reference implementation (huggingface/safetensors), whose limits hold here too.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/box.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {

/// A longer header is refused: it would be read into memory before it is understood.
inline constexpr std::uint64_t kMaxSafetensorsHeaderBytes = 100'000'000;

struct SafeTensor {
    std::string name;
    std::string dtype = "F32";  // F64 F32 F16 BF16 I64 I32 I16 I8 U64 U32 U16 U8 BOOL F8_E4M3 F8_E5M2
    Shape shape;
    std::uint64_t begin = 0;  // bytes, from the end of the header
    std::uint64_t end = 0;
};

struct SafetensorsHeader {
    std::vector<SafeTensor> tensors;              // in the order of their bytes, which they tile
    std::map<std::string, std::string> metadata;  // __metadata__
    std::uint64_t data_begin = 0;                 // in the file
};

/// Bytes of an element; nullopt for a dtype that the format does not have.
std::optional<std::uint64_t> safetensors_element_bytes(std::string_view dtype);

/// The length that a file of `file_bytes` states for its header, from its first 8 bytes. CheckpointError when it cannot
/// be.
std::uint64_t safetensors_header_bytes(std::span<const std::byte> start, std::uint64_t file_bytes,
                                       const std::string& where);
/// The header's JSON; `data_bytes` follow it in the file. CheckpointError for everything that is not strictly of the
/// format: holes, overlaps, sizes that are not those of dtype and shape, repeated names, unknown fields, bytes that
/// belong to no tensor.
SafetensorsHeader parse_safetensors_header(std::string_view json, std::uint64_t data_bytes, const std::string& where);

/// Lays the tensors out in the given order: fills begin and end, returns length and header, padded to 8 bytes.
/// CheckpointError for what parse_safetensors_header would refuse.
std::string safetensors_header_text(std::vector<SafeTensor>& tensors,
                                    const std::map<std::string, std::string>& metadata);

/// An open file with a good header. Reads from several threads are independent.
class SafetensorsFile {
  public:
    explicit SafetensorsFile(const std::filesystem::path& file);

    const SafetensorsHeader& header() const { return header_; }
    /// Fills `to` with the tensor's bytes from `offset` on; they must lie inside it.
    void read(const SafeTensor& tensor, std::uint64_t offset, std::span<std::byte> to) const;

  private:
    monitoring::File file_;
    SafetensorsHeader header_;
};

/// Writes a file under a temporary name, tensor after tensor; close() makes it durable and names it. Without close()
/// nothing is left.
class SafetensorsWriter {
  public:
    /// The file must not exist. IoError when there is no room for all of it.
    SafetensorsWriter(std::filesystem::path file, std::vector<SafeTensor> tensors,
                      const std::map<std::string, std::string>& metadata);
    ~SafetensorsWriter();
    SafetensorsWriter(const SafetensorsWriter&) = delete;
    SafetensorsWriter& operator=(const SafetensorsWriter&) = delete;

    /// The next bytes of the tensors in their order.
    void append(std::span<const std::byte> bytes);
    /// InternalError when bytes are missing.
    void close();

  private:
    std::filesystem::path name_;
    std::filesystem::path partial_;
    std::uint64_t left_ = 0;  // bytes to come
    std::optional<monitoring::File> file_;
};

}  // namespace kiban::checkpoint
