// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/shard_header.h"

#include <map>
#include <mutex>

#include "data/h5.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

using data::h5_check;
using data::H5Handle;

hid_t stored_type(DType dtype) {
    switch (dtype) {
        case DType::f32: return H5T_IEEE_F32LE;
        case DType::f64: return H5T_IEEE_F64LE;
        case DType::bf16: return H5T_STD_U16LE;  // HDF5 1.10 has no bfloat16; the attribute dtype says what it is
        case DType::i64: return H5T_STD_I64LE;
        case DType::u8: return H5T_STD_U8LE;
    }
    throw InternalError("dtype {}", static_cast<int>(dtype));
}

void write_shape_attribute(hid_t object, const char* name, const Shape& shape) {
    const std::string operation = fmt::format("write HDF5 attribute '{}'", name);
    const hsize_t dimensions = shape.size();
    H5Handle space(H5Screate_simple(1, &dimensions, nullptr), H5Sclose, operation);
    H5Handle attribute(H5Acreate2(object, name, H5T_STD_I64LE, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                       operation);
    if (!shape.empty()) h5_check(H5Awrite(attribute.id(), H5T_NATIVE_INT64, shape.data()), operation);
    attribute.close();
}

// Without its time of birth: equal tensors make equal files.
H5Handle make_group(hid_t file, const std::string& name) {
    const std::string operation = fmt::format("make HDF5 group '{}'", name);
    H5Handle creation(H5Pcreate(H5P_GROUP_CREATE), H5Pclose, operation);
    h5_check(H5Pset_obj_track_times(creation.id(), false), operation);
    return {H5Gcreate2(file, name.c_str(), H5P_DEFAULT, creation.id(), H5P_DEFAULT), H5Gclose, operation};
}

std::uint64_t make_dataset(hid_t group, const std::string& link, const TensorSlice& slice) {
    const std::vector<hsize_t> extent(slice.box.extent.begin(), slice.box.extent.end());
    H5Handle dataset = data::h5_raw_dataset(group, link, stored_type(slice.tensor.dtype), extent);
    data::h5_write_attribute(dataset.id(), "name", slice.tensor.id.name);
    data::h5_write_attribute(dataset.id(), "kind", slice.tensor.id.kind);
    data::h5_write_attribute(dataset.id(), "dtype", std::string(name_of(slice.tensor.dtype)));
    write_shape_attribute(dataset.id(), "global_shape", slice.tensor.shape);
    write_shape_attribute(dataset.id(), "offset", slice.box.offset);
    write_shape_attribute(dataset.id(), "extent", slice.box.extent);
    const bool empty = num_elements(slice.box.extent) == 0;
    const std::uint64_t at = empty ? 0 : data::h5_payload_offset(dataset.id(), slice.tensor.id.name + "/" + link);
    dataset.close();
    return at;
}

}  // namespace

ShardHeader make_shard_header(const std::filesystem::path& name, int index, std::span<const TensorSlice> slices) {
    const std::lock_guard lock(data::h5_mutex());
    data::H5Image image(name.string());
    data::h5_write_attribute(image.file(), "format", std::string(kShardFormat));
    data::h5_write_attribute(image.file(), "version", kShardVersion);
    data::h5_write_attribute(image.file(), "writer", static_cast<std::uint64_t>(index));
    std::map<TensorId, int> boxes_of;  // how many a tensor has so far: the number of the next one
    std::map<std::string, H5Handle> groups;
    std::vector<std::uint64_t> offsets;
    for (const TensorSlice& slice : slices) {
        const TensorId& id = slice.tensor.id;
        auto group = groups.find(id.name);
        if (group == groups.end()) group = groups.emplace(id.name, make_group(image.file(), id.name)).first;
        const std::string link = fmt::format("{}.{}", id.kind, boxes_of[id]++);
        offsets.push_back(make_dataset(group->second.id(), link, slice));
    }
    for (auto& [group_name, group] : groups) group.close();
    return {image.finish(), std::move(offsets)};
}

}  // namespace kiban::checkpoint
