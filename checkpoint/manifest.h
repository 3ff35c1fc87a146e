// SPDX-License-Identifier: Apache-2.0
// MANIFEST.json: the files of a checkpoint with their block CRCs, the tensor index (box -> file, offset) and the run
// state. Internal to this room.
//
// A manifest in memory is consistent: file names are plain, boxes lie inside files and tile their tensors, fingerprints
// add up. It is made either from the writers' reports or from text, and both are untrusted: CheckpointError says what
// is wrong.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "checkpoint/commit_record.h"
#include "checkpoint/curve.h"
#include "checkpoint/shard.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {

inline constexpr const char* kManifestName = "MANIFEST.json";

/// Made by a newer Kiban: neither damaged nor to be passed over.
class NewerFormatError : public CheckpointError {
  public:
    using CheckpointError::CheckpointError;
};

struct ManifestFile {
    std::string name;
    std::uint64_t bytes = 0;
    std::vector<std::uint32_t> block_crcs;
};

struct ManifestBox {
    std::size_t file = 0;  // index into Manifest::files
    Box box;
    std::uint64_t file_offset = 0;
    std::uint64_t fingerprint = 0;
};

struct ManifestTensor {
    TensorInfo info;
    std::uint64_t fingerprint = 0;
    std::vector<ManifestBox> boxes;
};

/// Where the learning curve lies.
struct ManifestCurve {
    std::size_t file = 0;  // index into Manifest::files
    std::uint64_t rows = 0;
    std::map<std::string, std::uint64_t, std::less<>> columns;  // name -> byte in the file

    std::uint64_t column(std::string_view name) const { return columns.find(name)->second; }
};

struct Manifest {
    std::uint32_t version = kFormatVersion;  // that it is written in
    std::uint64_t step = 0;
    std::uint32_t attempt = 0;
    std::vector<ManifestFile> files;      // by name
    std::vector<ManifestTensor> tensors;  // by id
    nlohmann::json state;                 // an object
    std::optional<ManifestCurve> curve;   // all columns are there and lie in the file

    static Manifest of(std::uint64_t step, std::uint32_t attempt, const std::vector<ShardReport>& shards,
                       const nlohmann::json& state, const std::optional<CurveReport>& curve = std::nullopt);
    static Manifest parse(std::string_view text, const std::string& where);  // NewerFormatError for a newer version
    std::string text() const;
    std::uint64_t shard_bytes() const;
};

/// Bytes of a box of a tensor.
std::uint64_t bytes_of(const TensorInfo& tensor, const Box& box);

/// {"name", "kind", "dtype", "shape"}, the same in reports and manifests.
nlohmann::json to_json(const TensorInfo& tensor);
TensorInfo tensor_info_from_json(const nlohmann::json& json, const std::string& where);

/// A committed checkpoint without its payload.
struct Committed {
    CommitRecord record;
    Manifest manifest;
};

/// Reads and checks COMMIT, MANIFEST.json, the directory's name and, unless told otherwise, the list of files and their
/// sizes. CheckpointError names what is wrong.
enum class FileCheck { sizes, none };
Committed load_committed(const std::filesystem::path& checkpoint, FileCheck files = FileCheck::sizes);

/// Whether the file is there, regular, and of the right size; otherwise what is wrong.
std::optional<std::string> file_fault(const std::filesystem::path& directory, const ManifestFile& file);

/// Names in the directory that are neither one of these files nor in `also_there`. Those that begin with '.' do not
/// count.
std::vector<std::string> strangers_in(const std::filesystem::path& directory, const std::vector<ManifestFile>& files,
                                      const std::vector<std::string>& also_there);

/// CheckpointError when a file has a fault or a stranger is there.
void check_files(const std::filesystem::path& directory, const std::vector<ManifestFile>& files,
                 const std::vector<std::string>& also_there);

/// step-000000012000-a000007; parse: nullopt for any other name.
struct CheckpointName {
    std::uint64_t step = 0;
    std::uint32_t attempt = 0;
    auto operator<=>(const CheckpointName&) const = default;
    std::string text() const;
    static std::optional<CheckpointName> parse(const std::string& text);
};

/// The last part of a path, also when it ends in '/'.
std::string last_name(const std::filesystem::path& directory);

}  // namespace kiban::checkpoint
