// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "checkpoint/curve_columns.h"
#include "checkpoint/json_fields.h"

namespace kiban::checkpoint {
namespace {

constexpr const char* kFormat = "kiban-checkpoint";
constexpr std::uint64_t kMostFileBytes = std::numeric_limits<std::int64_t>::max();

void check_file(const ManifestFile& file, const std::string& where) {
    const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; };
    const bool shard =
        file.name.starts_with("shard-") && file.name.ends_with(".h5") && std::ranges::all_of(file.name, plain);
    if (!shard && file.name != kCurveName) {
        throw CheckpointError("cannot use {}: expected a file name such as {}, found '{}'", where, shard_file_name(0),
                              file.name);
    }
    const std::uint64_t blocks = file.bytes / kCrcBlockBytes + (file.bytes % kCrcBlockBytes != 0 ? 1 : 0);
    if (file.block_crcs.size() != blocks) {
        throw CheckpointError("cannot use {}: '{}' of {} bytes has {} blocks of {} bytes, found {} CRCs", where,
                              file.name, file.bytes, blocks, kCrcBlockBytes, file.block_crcs.size());
    }
}

void check_box(const TensorInfo& tensor, const ManifestBox& box, const std::vector<ManifestFile>& files,
               const std::string& where) {
    if (!lies_inside(box.box, tensor.shape)) {
        throw CheckpointError("cannot use {}: box {} of tensor {} does not lie inside its shape {}", where,
                              to_string(box.box), to_string(tensor.id), to_string(tensor.shape));
    }
    const ManifestFile& file = files.at(box.file);
    const std::uint64_t bytes = bytes_of(tensor, box.box);
    if (box.file_offset > file.bytes || bytes > file.bytes - box.file_offset) {
        throw CheckpointError("cannot use {}: tensor {} box {} takes {} bytes from offset {} of '{}', which has {}",
                              where, to_string(tensor.id), to_string(box.box), bytes, box.file_offset, file.name,
                              file.bytes);
    }
}

// The file of the name is the curve's and no other's, and every column lies inside it.
void check_curve(const Manifest& manifest, const std::string& where) {
    for (std::size_t i = 0; i < manifest.files.size(); ++i) {
        if ((manifest.files[i].name == kCurveName) == (manifest.curve && manifest.curve->file == i)) continue;
        throw CheckpointError("cannot use {}: the curve is not in the file '{}', and no other file is '{}'", where,
                              kCurveName, manifest.files[i].name);
    }
    if (!manifest.curve) return;
    const ManifestFile& file = manifest.files.at(manifest.curve->file);
    const std::uint64_t rows = manifest.curve->rows;
    for (const CurveColumn& column : kCurveColumns) {
        const auto found = manifest.curve->columns.find(column.name);
        if (found == manifest.curve->columns.end() && column.optional) continue;
        if (found == manifest.curve->columns.end())
            throw CheckpointError("cannot use {}: its curve has no column '{}'", where, column.name);
        if (found->second > file.bytes || rows > (file.bytes - found->second) / column.bytes) {
            throw CheckpointError("cannot use {}: column '{}' of {} rows from offset {} does not lie inside '{}' of {}",
                                  where, column.name, rows, found->second, file.name, file.bytes);
        }
    }
}

nlohmann::json to_json(const ManifestCurve& curve) {
    return {{"file", curve.file}, {"rows", curve.rows}, {"columns", curve.columns}};
}

ManifestCurve curve_from_json(const nlohmann::json& json, const std::string& where, std::size_t num_files) {
    const JsonFields fields(json, where);
    if (num_files == 0) throw CheckpointError("cannot read {}: it names a file, but there are none", where);
    ManifestCurve curve{static_cast<std::size_t>(fields.number("file", num_files - 1)), fields.number("rows"), {}};
    for (const auto& [name, at] : fields.object("columns").items())
        curve.columns[name] = json_number(at, fields.where("columns"), kMostFileBytes);
    return curve;
}

void check(const Manifest& manifest, const std::string& where) {
    check_curve(manifest, where);
    std::set<std::string> names;
    for (const ManifestFile& file : manifest.files) {
        check_file(file, where);
        if (!names.insert(file.name).second)
            throw CheckpointError("cannot use {}: file '{}' is listed twice", where, file.name);
    }
    std::set<TensorId> ids;
    for (const ManifestTensor& tensor : manifest.tensors) {
        const TensorInfo& info = tensor.info;
        check_tensor(info);
        if (!ids.insert(info.id).second)
            throw CheckpointError("cannot use {}: tensor {} is listed twice", where, to_string(info.id));
        std::vector<Box> boxes;
        std::uint64_t sum = 0;
        for (const ManifestBox& box : tensor.boxes) {
            check_box(info, box, manifest.files, where);
            boxes.push_back(box.box);
            sum += box.fingerprint;
        }
        if (const auto fault = tiling_fault(info.shape, boxes)) {
            throw CheckpointError("cannot use {}: tensor {} is not stored exactly once: {}", where, to_string(info.id),
                                  *fault);
        }
        if (sum != tensor.fingerprint) {
            throw CheckpointError("cannot use {}: tensor {} has fingerprint {}, its boxes add up to {}", where,
                                  to_string(info.id), to_hex(tensor.fingerprint), to_hex(sum));
        }
    }
}

nlohmann::json to_json(const ManifestTensor& tensor) {
    nlohmann::json json = to_json(tensor.info);
    json["fingerprint"] = to_hex(tensor.fingerprint);
    json["boxes"] = nlohmann::json::array();
    for (const ManifestBox& box : tensor.boxes) {
        json["boxes"].push_back({{"file", box.file},
                                 {"offset", box.box.offset},
                                 {"extent", box.box.extent},
                                 {"file_offset", box.file_offset},
                                 {"fingerprint", to_hex(box.fingerprint)}});
    }
    return json;
}

ManifestFile file_from_json(const nlohmann::json& json, const std::string& where) {
    const JsonFields fields(json, where);
    ManifestFile file{fields.text("name"), fields.number("bytes", kMostFileBytes), {}};
    for (const nlohmann::json& crc : fields.array("block_crcs")) {
        file.block_crcs.push_back(static_cast<std::uint32_t>(
            json_number(crc, fields.where("block_crcs"), std::numeric_limits<std::uint32_t>::max())));
    }
    return file;
}

ManifestTensor tensor_from_json(const nlohmann::json& json, const std::string& where, std::size_t num_files) {
    const JsonFields fields(json, where);
    ManifestTensor tensor{tensor_info_from_json(json, where), fields.hex("fingerprint"), {}};
    for (const nlohmann::json& item : fields.array("boxes")) {
        const JsonFields box(item, fields.where("boxes"));
        if (num_files == 0)
            throw CheckpointError("cannot read {}: it names a file, but there are none", fields.where("boxes"));
        tensor.boxes.push_back({static_cast<std::size_t>(box.number("file", num_files - 1)),
                                {box.shape("offset"), box.shape("extent")},
                                box.number("file_offset", kMostFileBytes),
                                box.hex("fingerprint")});
    }
    return tensor;
}

}  // namespace

std::uint64_t bytes_of(const TensorInfo& tensor, const Box& box) {
    return static_cast<std::uint64_t>(num_elements(box.extent)) * element_bytes(tensor.dtype);
}

nlohmann::json to_json(const TensorInfo& tensor) {
    return {
        {"name", tensor.id.name}, {"kind", tensor.id.kind}, {"dtype", name_of(tensor.dtype)}, {"shape", tensor.shape}};
}

TensorInfo tensor_info_from_json(const nlohmann::json& json, const std::string& where) {
    const JsonFields fields(json, where);
    TensorInfo tensor{
        {fields.text("name"), fields.text("kind")}, dtype_of(fields.text("dtype")), fields.shape("shape")};
    check_tensor(tensor);
    return tensor;
}

Manifest Manifest::of(std::uint64_t step, std::uint32_t attempt, const std::vector<ShardReport>& shards,
                      const nlohmann::json& state, const std::optional<CurveReport>& curve) {
    const std::string where = fmt::format("the shards of step {}", step);
    if (shards.empty()) throw CheckpointError("cannot commit step {}: no shard was reported", step);
    if (!state.is_object()) throw CheckpointError("cannot commit step {}: expected the run state as an object", step);
    if (const auto own = state.find("step");
        own != state.end() && json_number(*own, "run state.step", UINT64_MAX) != step) {
        throw CheckpointError("cannot commit step {}: the run state is that of step {}", step, own->dump());
    }
    std::vector<const ShardReport*> sorted;
    for (const ShardReport& shard : shards) sorted.push_back(&shard);
    std::ranges::sort(sorted, {}, &ShardReport::file);
    Manifest manifest;
    manifest.step = step;
    manifest.attempt = attempt;
    manifest.state = state;
    std::map<TensorId, ManifestTensor> tensors;
    for (const ShardReport* shard : sorted) {
        for (const StoredBox& stored : shard->boxes) {
            ManifestTensor& tensor =
                tensors.try_emplace(stored.tensor.id, ManifestTensor{stored.tensor, 0, {}}).first->second;
            if (tensor.info != stored.tensor) {
                throw CheckpointError("cannot use {}: tensor {} is {} {} in '{}', but {} {} in another shard", where,
                                      to_string(stored.tensor.id), name_of(stored.tensor.dtype),
                                      to_string(stored.tensor.shape), shard->file, name_of(tensor.info.dtype),
                                      to_string(tensor.info.shape));
            }
            tensor.boxes.push_back({manifest.files.size(), stored.box, stored.file_offset, stored.fingerprint});
            tensor.fingerprint += stored.fingerprint;
        }
        manifest.files.push_back({shard->file, shard->bytes, shard->block_crcs});
    }
    for (auto& [id, tensor] : tensors) manifest.tensors.push_back(std::move(tensor));
    if (curve) {
        manifest.curve = {manifest.files.size(), curve->rows, {curve->columns.begin(), curve->columns.end()}};
        manifest.files.push_back({curve->file, curve->bytes, curve->block_crcs});
    }
    check(manifest, where);
    return manifest;
}

Manifest Manifest::parse(std::string_view text, const std::string& where) {
    const nlohmann::json json = parse_json(text, where);
    const JsonFields fields(json, where);
    if (fields.text("format") != kFormat) {
        throw CheckpointError("cannot read {}: expected format '{}', found '{}'", where, kFormat,
                              fields.text("format"));
    }
    const std::uint64_t version = fields.number("version");
    if (version > kFormatVersion) {
        throw NewerFormatError("cannot read {}: it has format version {}, this Kiban reads up to {}; use a newer Kiban",
                               where, version, kFormatVersion);
    }
    if (version < kOldestVersion)
        throw CheckpointError("cannot read {}: it has format version {}, which never existed", where, version);
    Manifest manifest;
    manifest.version = static_cast<std::uint32_t>(version);
    manifest.step = fields.number("step");
    manifest.attempt = static_cast<std::uint32_t>(fields.number("attempt", std::numeric_limits<std::uint32_t>::max()));
    manifest.state = fields.object("state");
    for (const nlohmann::json& file : fields.array("files"))
        manifest.files.push_back(file_from_json(file, fields.where("files")));
    for (const nlohmann::json& tensor : fields.array("tensors")) {
        manifest.tensors.push_back(tensor_from_json(tensor, fields.where("tensors"), manifest.files.size()));
    }
    if (json.contains("curve"))
        manifest.curve = curve_from_json(json["curve"], fields.where("curve"), manifest.files.size());
    check(manifest, where);
    return manifest;
}

std::string Manifest::text() const {
    nlohmann::json json = {
        {"format", kFormat}, {"version", version}, {"step", step}, {"attempt", attempt}, {"state", state}};
    json["files"] = nlohmann::json::array();
    for (const ManifestFile& file : files) {
        json["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"block_crcs", file.block_crcs}});
    }
    json["tensors"] = nlohmann::json::array();
    for (const ManifestTensor& tensor : tensors) json["tensors"].push_back(to_json(tensor));
    if (curve) json["curve"] = to_json(*curve);
    return dump_json(json, kManifestName);
}

std::uint64_t Manifest::shard_bytes() const {
    std::uint64_t bytes = 0;
    for (const ManifestFile& file : files) bytes += file.bytes;
    return bytes;
}

}  // namespace kiban::checkpoint
