// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/curve.h"

#include <algorithm>
#include <bit>

#include "checkpoint/block_reader.h"
#include "checkpoint/curve_columns.h"
#include "data/h5_image.h"
#include "monitoring/crc32c.h"
#include "monitoring/fault.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {
namespace {

using monitoring::CurveRow;
static_assert(std::endian::native == std::endian::little, "curve.h5 is little-endian and written without conversion");

constexpr std::uint64_t kCurveVersion = 2;

hid_t stored_type(CurveType type) {
    switch (type) {
        case CurveType::u32: return H5T_STD_U32LE;
        case CurveType::u64: return H5T_STD_U64LE;
        case CurveType::f64: return H5T_IEEE_F64LE;
    }
    throw InternalError("column type {}", static_cast<int>(type));
}

// The file as HDF5 makes it, without the columns' content; fills in where each column goes.
data::H5Bytes make_header(const std::filesystem::path& name, CurveReport& report) {
    const std::lock_guard lock(data::h5_mutex());
    data::H5Image image(name.string());
    data::h5_write_attribute(image.file(), "format", std::string("kiban-curve"));
    data::h5_write_attribute(image.file(), "version", kCurveVersion);
    for (const CurveColumn& column : kCurveColumns) {
        const std::string text(column.name);
        data::H5Handle dataset =
            data::h5_raw_dataset(image.file(), text, stored_type(column.type), std::array<hsize_t, 1>{report.rows});
        report.columns.emplace_back(text, report.rows == 0 ? 0 : data::h5_payload_offset(dataset.id(), text));
        dataset.close();
    }
    return image.finish();
}

std::vector<std::byte> fill(const data::H5Bytes& header, const CurveReport& report, std::span<const CurveRow> rows) {
    std::vector<std::byte> content(static_cast<std::size_t>(header.bytes));
    for (const auto& extent : header.extents)
        std::ranges::copy(extent.bytes, content.begin() + static_cast<std::ptrdiff_t>(extent.offset));
    for (std::size_t i = 0; i < kCurveColumns.size(); ++i) {
        std::byte* to = content.data() + report.columns[i].second;
        for (const CurveRow& row : rows) {
            kCurveColumns[i].get(row, to);
            to += kCurveColumns[i].bytes;
        }
    }
    return content;
}

void write_file(const std::filesystem::path& name, std::span<const std::byte> content) {
    monitoring::fault_point("ckpt.curve", name);
    monitoring::File file = monitoring::File::create(name);
    try {
        file.preallocate(content.size());
        file.write_at(0, content);
        file.sync("ckpt.curve");
        file.close();
    } catch (...) {
        monitoring::file_system().unlink(name);
        throw;
    }
}

}  // namespace

CurveReport write_curve(const std::filesystem::path& directory, std::span<const CurveRow> rows, std::uint64_t step) {
    const auto end = std::ranges::upper_bound(rows, step, {}, &CurveRow::step);
    rows = rows.first(static_cast<std::size_t>(end - rows.begin()));
    const std::uint64_t last = rows.empty() ? 0 : rows.back().step;
    if (last != step) {
        throw CheckpointError("the curve of a checkpoint of step {} ends at step {}: it would lag behind its model",
                              step, last);
    }
    CurveReport report;
    report.file = kCurveName;
    report.rows = rows.size();
    const std::filesystem::path name = directory / kCurveName;
    const auto content = fill(make_header(name, report), report, rows);
    report.bytes = content.size();
    for (std::span<const std::byte> rest(content); !rest.empty();) {
        const auto block = rest.first(std::min<std::size_t>(rest.size(), kCrcBlockBytes));
        report.block_crcs.push_back(monitoring::crc32c(block));
        rest = rest.subspan(block.size());
    }
    write_file(name, content);
    return report;
}

std::optional<std::vector<CurveRow>> read_curve_of(const std::filesystem::path& checkpoint) {
    const Manifest manifest = load_committed(checkpoint).manifest;
    if (!manifest.curve) return std::nullopt;
    BlockReader blocks(checkpoint, manifest);
    std::vector<CurveRow> rows(static_cast<std::size_t>(manifest.curve->rows));
    std::vector<std::byte> values;
    for (const CurveColumn& column : kCurveColumns) {
        if (column.optional && !manifest.curve->columns.contains(column.name)) continue;
        values.resize(rows.size() * column.bytes);
        blocks.read(manifest.curve->file, manifest.curve->column(column.name), values);
        for (std::size_t i = 0; i < rows.size(); ++i) column.set(rows[i], values.data() + i * column.bytes);
    }
    const auto not_after = [](const CurveRow& a, const CurveRow& b) { return a.step >= b.step; };
    if (std::ranges::adjacent_find(rows, not_after) != rows.end() ||
        (!rows.empty() && rows.back().step > manifest.step)) {
        throw CheckpointError("cannot use the curve of checkpoint '{}': its steps do not ascend to step {}",
                              checkpoint.string(), manifest.step);
    }
    return rows;
}

}  // namespace kiban::checkpoint
