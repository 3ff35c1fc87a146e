// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shard.h"

#include <limits>

#include "checkpoint/json_fields.h"
#include "checkpoint/manifest.h"
#include "checkpoint/shard_writer.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

constexpr const char* kReport = "shard report";

}  // namespace

nlohmann::json to_json(const ShardReport& report) {
    nlohmann::json boxes = nlohmann::json::array();
    for (const StoredBox& stored : report.boxes) {
        nlohmann::json json = to_json(stored.tensor);
        json["offset"] = stored.box.offset;
        json["extent"] = stored.box.extent;
        json["file_offset"] = stored.file_offset;
        json["fingerprint"] = to_hex(stored.fingerprint);
        boxes.push_back(std::move(json));
    }
    return {
        {"file", report.file}, {"bytes", report.bytes}, {"block_crcs", report.block_crcs}, {"boxes", std::move(boxes)}};
}

ShardReport shard_report_from_json(const nlohmann::json& json) {
    constexpr auto kMost = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    const JsonFields fields(json, kReport);
    ShardReport report;
    report.file = fields.text("file");
    report.bytes = fields.number("bytes", kMost);
    for (const nlohmann::json& crc : fields.array("block_crcs")) {
        const std::uint64_t value =
            json_number(crc, fields.where("block_crcs"), std::numeric_limits<std::uint32_t>::max());
        report.block_crcs.push_back(static_cast<std::uint32_t>(value));
    }
    for (const nlohmann::json& item : fields.array("boxes")) {
        const JsonFields box(item, fields.where("boxes"));
        report.boxes.push_back({tensor_info_from_json(item, fields.where("boxes")),
                                {box.shape("offset"), box.shape("extent")},
                                box.number("file_offset", kMost),
                                box.hex("fingerprint")});
        const StoredBox& stored = report.boxes.back();
        if (!lies_inside(stored.box, stored.tensor.shape)) {
            throw CheckpointError("cannot use {}: box {} of tensor {} does not lie inside its shape {}", kReport,
                                  to_string(stored.box), to_string(stored.tensor.id), to_string(stored.tensor.shape));
        }
    }
    return report;
}

std::string shard_file_name(int index) { return fmt::format("shard-{:05}.h5", index); }

ShardReport write_shard(const std::filesystem::path& directory, int index, std::span<const TensorSlice> slices) {
    ShardWriter writer(directory, index, slices);
    for (std::size_t i = 0; i < slices.size(); ++i) {
        const auto bytes = static_cast<std::size_t>(bytes_of(slices[i].tensor, slices[i].box));
        writer.write(i, 0, {static_cast<const std::byte*>(slices[i].data), bytes});
    }
    return writer.finish();
}

}  // namespace kiban::checkpoint
