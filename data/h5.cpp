// SPDX-License-Identifier: Apache-2.0
#include "data/h5.h"

#include <cstdint>
#include <limits>
#include <utility>
#include <vector>

#include "monitoring/error.h"
#include "monitoring/fault.h"
#include "monitoring/log.h"

namespace kiban::data {
namespace {

constexpr hsize_t kAlignmentBytes = 4096;

herr_t keep_innermost(unsigned /*depth*/, const H5E_error2_t* entry, void* text) {
    auto* message = static_cast<std::string*>(text);
    if (message->empty() && entry->desc != nullptr) *message = fmt::format("{} ({})", entry->desc, entry->func_name);
    return 0;
}

std::string innermost_message() {
    std::string message;
    H5Ewalk2(H5E_DEFAULT, H5E_WALK_UPWARD, keep_innermost, &message);
    H5Eclear2(H5E_DEFAULT);
    return message.empty() ? "the library gives no reason" : message;
}

// A thread-safe build of the library keeps one error stack per thread, so every thread silences its own. Holds the
// lock.
void silence_this_thread() {
    thread_local bool silent = false;
    if (!silent) silent = H5Eset_auto2(H5E_DEFAULT, nullptr, nullptr) >= 0;
}

H5Handle access_properties() {
    H5Handle properties(H5Pcreate(H5P_FILE_ACCESS), H5Pclose, "make file access properties");
    h5_check(H5Pset_file_locking(properties.id(), false, true), "turn file locking off");
    h5_check(H5Pset_fclose_degree(properties.id(), H5F_CLOSE_STRONG), "set the close degree");
    return properties;
}

H5Handle open_attribute(hid_t object, const std::string& name) {
    const htri_t exists = H5Aexists(object, name.c_str());
    h5_check(static_cast<herr_t>(exists), fmt::format("look for HDF5 attribute '{}'", name));
    if (exists == 0) throw IoError("cannot read HDF5 attribute '{}': it does not exist", name);
    return {H5Aopen(object, name.c_str(), H5P_DEFAULT), H5Aclose, fmt::format("open HDF5 attribute '{}'", name)};
}

void write_scalar(hid_t object, const std::string& name, hid_t file_type, hid_t memory_type, const void* value) {
    const std::string operation = fmt::format("write HDF5 attribute '{}'", name);
    H5Handle space(H5Screate(H5S_SCALAR), H5Sclose, operation);
    H5Handle attribute(H5Acreate2(object, name.c_str(), file_type, space.id(), H5P_DEFAULT, H5P_DEFAULT), H5Aclose,
                       operation);
    h5_check(H5Awrite(attribute.id(), memory_type, value), operation);
    attribute.close();
}

H5Handle string_type(std::size_t size) {
    H5Handle type(H5Tcopy(H5T_C_S1), H5Tclose, "make an HDF5 string type");
    h5_check(H5Tset_size(type.id(), size), "size an HDF5 string type");
    h5_check(H5Tset_cset(type.id(), H5T_CSET_UTF8), "set an HDF5 string type to UTF-8");
    return type;
}

std::string read_variable_string(hid_t attribute, const std::string& operation) {
    H5Handle type = string_type(H5T_VARIABLE);
    char* text = nullptr;
    h5_check(H5Aread(attribute, type.id(), &text), operation);
    std::string value = text != nullptr ? text : "";
    H5free_memory(text);
    return value;
}

}  // namespace

std::recursive_mutex& h5_mutex() {
    // Without H5dont_atexit() a write that failed on a full disk ends in a crash at exit.
    static std::recursive_mutex mutex;
    static const bool ready = H5dont_atexit() >= 0;
    (void)ready;
    return mutex;
}

void h5_check(herr_t code, const std::string& operation) {
    if (code < 0) throw IoError("cannot {}: {}", operation, innermost_message());
}

H5Handle::H5Handle(hid_t id, Closer closer, const std::string& operation) : id_(id), closer_(closer) {
    h5_check(id < 0 ? -1 : 0, operation);
}

H5Handle::H5Handle(H5Handle&& other) noexcept
    : id_(std::exchange(other.id_, H5I_INVALID_HID)), closer_(other.closer_) {}

H5Handle& H5Handle::operator=(H5Handle&& other) noexcept {
    std::swap(id_, other.id_);
    std::swap(closer_, other.closer_);
    return *this;
}

H5Handle::~H5Handle() {
    try {
        close();
    } catch (const std::exception& error) {
        monitoring::log_error("{}", error.what());
    }
}

void H5Handle::close() {
    if (id_ < 0) return;
    const std::lock_guard lock(h5_mutex());
    h5_check(closer_(std::exchange(id_, H5I_INVALID_HID)), "close an HDF5 object");
}

H5Handle h5_create_with(const std::filesystem::path& file, const std::function<void(hid_t)>& add_properties) {
    const std::lock_guard lock(h5_mutex());
    silence_this_thread();
    H5Handle access = access_properties();
    h5_check(H5Pset_libver_bounds(access.id(), H5F_LIBVER_V110, H5F_LIBVER_V110), "choose the HDF5 1.10 format");
    h5_check(H5Pset_alignment(access.id(), kAlignmentBytes, kAlignmentBytes), "set the HDF5 alignment");
    H5Handle creation(H5Pcreate(H5P_FILE_CREATE), H5Pclose, "make file creation properties");
    h5_check(H5Pset_obj_track_times(creation.id(), false), "keep times out of an HDF5 file");
    add_properties(access.id());
    return {H5Fcreate(file.c_str(), H5F_ACC_EXCL, creation.id(), access.id()), H5Fclose,
            fmt::format("create HDF5 file '{}'", file.string())};
}

H5Handle h5_create(const std::filesystem::path& file) {
    monitoring::fault_point("h5.create", file);
    return h5_create_with(file, [](hid_t) {});
}

H5Handle h5_open(const std::filesystem::path& file) {
    const std::lock_guard lock(h5_mutex());
    silence_this_thread();
    H5Handle access = access_properties();
    return {H5Fopen(file.c_str(), H5F_ACC_RDONLY, access.id()), H5Fclose,
            fmt::format("open HDF5 file '{}'", file.string())};
}

H5Handle h5_raw_dataset(hid_t parent, const std::string& name, hid_t type, std::span<const hsize_t> shape) {
    const std::lock_guard lock(h5_mutex());
    const std::string operation = fmt::format("make HDF5 dataset '{}'", name);
    KIBAN_CHECK(shape.size() <= H5S_MAX_RANK, "'{}' has {} dimensions", name, shape.size());
    H5Handle space(
        shape.empty() ? H5Screate(H5S_SCALAR) : H5Screate_simple(static_cast<int>(shape.size()), shape.data(), nullptr),
        H5Sclose, operation);
    H5Handle creation(H5Pcreate(H5P_DATASET_CREATE), H5Pclose, operation);
    h5_check(H5Pset_layout(creation.id(), H5D_CONTIGUOUS), operation);
    h5_check(H5Pset_alloc_time(creation.id(), H5D_ALLOC_TIME_EARLY), operation);
    h5_check(H5Pset_fill_time(creation.id(), H5D_FILL_TIME_NEVER), operation);
    h5_check(H5Pset_obj_track_times(creation.id(), false), operation);
    return {H5Dcreate2(parent, name.c_str(), type, space.id(), H5P_DEFAULT, creation.id(), H5P_DEFAULT), H5Dclose,
            operation};
}

std::uint64_t h5_payload_offset(hid_t dataset, const std::string& name) {
    const std::lock_guard lock(h5_mutex());
    const haddr_t offset = H5Dget_offset(dataset);
    if (offset == HADDR_UNDEF) {
        throw IoError("cannot find the payload of HDF5 dataset '{}': expected contiguous, allocated storage", name);
    }
    return offset;
}

void h5_write_attribute(hid_t object, const std::string& name, const std::string& value) {
    const std::lock_guard lock(h5_mutex());
    // Fixed length, so that the text lies in the checksummed object header and not in a heap.
    H5Handle type = string_type(value.size() + 1);
    write_scalar(object, name, type.id(), type.id(), value.c_str());
}

void h5_write_attribute(hid_t object, const std::string& name, std::uint64_t value) {
    const std::lock_guard lock(h5_mutex());
    write_scalar(object, name, H5T_STD_U64LE, H5T_NATIVE_UINT64, &value);
}

std::string h5_read_string_attribute(hid_t object, const std::string& name) {
    const std::lock_guard lock(h5_mutex());
    const std::string operation = fmt::format("read HDF5 attribute '{}'", name);
    H5Handle attribute = open_attribute(object, name);
    H5Handle type(H5Aget_type(attribute.id()), H5Tclose, operation);
    H5Handle space(H5Aget_space(attribute.id()), H5Sclose, operation);
    if (H5Tget_class(type.id()) != H5T_STRING || H5Sget_simple_extent_npoints(space.id()) != 1) {
        throw IoError("cannot {}: expected one string, found another type or shape", operation);
    }
    if (H5Tis_variable_str(type.id()) > 0) return read_variable_string(attribute.id(), operation);
    std::vector<char> text(H5Tget_size(type.id()) + 1, '\0');
    h5_check(H5Aread(attribute.id(), type.id(), text.data()), operation);
    return text.data();
}

std::uint64_t h5_read_integer_attribute(hid_t object, const std::string& name) {
    const std::lock_guard lock(h5_mutex());
    const std::string operation = fmt::format("read HDF5 attribute '{}'", name);
    H5Handle attribute = open_attribute(object, name);
    H5Handle type(H5Aget_type(attribute.id()), H5Tclose, operation);
    H5Handle space(H5Aget_space(attribute.id()), H5Sclose, operation);
    if (H5Tget_class(type.id()) != H5T_INTEGER || H5Sget_simple_extent_npoints(space.id()) != 1) {
        throw IoError("cannot {}: expected one integer, found another type or shape", operation);
    }
    std::uint64_t value = 0;
    h5_check(H5Aread(attribute.id(), H5T_NATIVE_UINT64, &value), operation);
    return value;
}

}  // namespace kiban::data
