// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/manifest.h"

#include <algorithm>
#include <limits>
#include <map>
#include <set>

#include "checkpoint/json_fields.h"

namespace kiban::checkpoint {
namespace {

constexpr const char* kFormat = "kiban-checkpoint";
constexpr std::uint64_t kMostFileBytes = std::numeric_limits<std::int64_t>::max();

void check_file(const ManifestFile& file, const std::string& where) {
    const auto plain = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.'; };
    if (!file.name.starts_with("shard-") || !file.name.ends_with(".h5") || !std::ranges::all_of(file.name, plain)) {
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

void check(const Manifest& manifest, const std::string& where) {
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
                      const nlohmann::json& state) {
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
    if (version != kFormatVersion)
        throw CheckpointError("cannot read {}: it has format version {}, which never existed", where, version);
    Manifest manifest;
    manifest.step = fields.number("step");
    manifest.attempt = static_cast<std::uint32_t>(fields.number("attempt", std::numeric_limits<std::uint32_t>::max()));
    manifest.state = fields.object("state");
    for (const nlohmann::json& file : fields.array("files"))
        manifest.files.push_back(file_from_json(file, fields.where("files")));
    for (const nlohmann::json& tensor : fields.array("tensors")) {
        manifest.tensors.push_back(tensor_from_json(tensor, fields.where("tensors"), manifest.files.size()));
    }
    check(manifest, where);
    return manifest;
}

std::string Manifest::text() const {
    nlohmann::json json = {
        {"format", kFormat}, {"version", kFormatVersion}, {"step", step}, {"attempt", attempt}, {"state", state}};
    json["files"] = nlohmann::json::array();
    for (const ManifestFile& file : files) {
        json["files"].push_back({{"name", file.name}, {"bytes", file.bytes}, {"block_crcs", file.block_crcs}});
    }
    json["tensors"] = nlohmann::json::array();
    for (const ManifestTensor& tensor : tensors) json["tensors"].push_back(to_json(tensor));
    return dump_json(json, kManifestName);
}

std::uint64_t Manifest::shard_bytes() const {
    std::uint64_t bytes = 0;
    for (const ManifestFile& file : files) bytes += file.bytes;
    return bytes;
}

}  // namespace kiban::checkpoint
