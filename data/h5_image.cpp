// SPDX-License-Identifier: Apache-2.0
#include "data/h5_image.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <span>

#include "monitoring/error.h"
#include "monitoring/fault.h"

#if H5_VERSION_GE(1, 13, 2)
#include <H5FDdevelop.h>
#endif

namespace kiban::data {
namespace {

constexpr haddr_t kPageBytes = 4096;
constexpr haddr_t kMostBytes = haddr_t{1} << 62;

}  // namespace

// The bytes that were written; zeros elsewhere.
struct H5Image::Pages {
    std::map<haddr_t, std::array<std::byte, kPageBytes>> pages;  // by number
    haddr_t bytes = 0;                                           // of the file

    void write(haddr_t at, std::span<const std::byte> from) {
        bytes = std::max(bytes, at + from.size());
        while (!from.empty()) {
            const auto part = from.first(std::min<std::size_t>(from.size(), kPageBytes - at % kPageBytes));
            std::memcpy(pages[at / kPageBytes].data() + at % kPageBytes, part.data(), part.size());
            at += part.size();
            from = from.subspan(part.size());
        }
    }

    void read(haddr_t at, std::span<std::byte> to) const {
        while (!to.empty()) {
            const auto part = to.first(std::min<std::size_t>(to.size(), kPageBytes - at % kPageBytes));
            const auto page = pages.find(at / kPageBytes);
            if (page == pages.end()) {
                std::ranges::fill(part, std::byte{0});
            } else {
                std::memcpy(part.data(), page->second.data() + at % kPageBytes, part.size());
            }
            at += part.size();
            to = to.subspan(part.size());
        }
    }

    H5Bytes extents() const {
        H5Bytes result{bytes, {}};
        for (const auto& [number, page] : pages) {
            const haddr_t begin = number * kPageBytes;
            if (begin >= bytes) break;
            auto& extents = result.extents;
            if (extents.empty() || extents.back().offset + extents.back().bytes.size() != begin)
                extents.push_back({begin, {}});
            const auto size = static_cast<std::ptrdiff_t>(std::min(kPageBytes, bytes - begin));
            extents.back().bytes.insert(extents.back().bytes.end(), page.begin(), page.begin() + size);
        }
        return result;
    }
};

namespace {

using Pages = H5Image::Pages;

// The file driver of the library ("virtual file layer", HDF5 1.10 and later) whose files are Pages. The functions below
// are called by the library alone and let no exception pass.
struct MemoryFile : H5FD_t {
    Pages* pages = nullptr;
    haddr_t allocated = 0;
};
struct DriverInfo {
    Pages* pages;
};

MemoryFile& memory(H5FD_t* file) { return *static_cast<MemoryFile*>(file); }
const MemoryFile& memory(const H5FD_t* file) { return *static_cast<const MemoryFile*>(file); }

herr_t guarded(const std::function<void()>& action) {
    try {
        action();
        return 0;
    } catch (...) {  // no memory: the library is told, and says so
        return -1;
    }
}

H5FD_t* open_pages(const char* /*name*/, unsigned /*flags*/, hid_t access, haddr_t /*most*/) {
    const auto* info = static_cast<const DriverInfo*>(H5Pget_driver_info(access));
    if (info == nullptr) return nullptr;
    auto* file = new (std::nothrow) MemoryFile{};
    if (file != nullptr) file->pages = info->pages;
    return file;
}
herr_t close_pages(H5FD_t* file) {
    delete &memory(file);
    return 0;
}
int compare_pages(const H5FD_t* a, const H5FD_t* b) {
    const std::less<const Pages*> before;
    return before(memory(a).pages, memory(b).pages) ? -1 : before(memory(b).pages, memory(a).pages) ? 1 : 0;
}
herr_t query_pages(const H5FD_t* /*file*/, unsigned long* flags) {
    *flags = H5FD_FEAT_AGGREGATE_METADATA | H5FD_FEAT_ACCUMULATE_METADATA | H5FD_FEAT_AGGREGATE_SMALLDATA |
             H5FD_FEAT_DEFAULT_VFD_COMPATIBLE;  // as a file of the default driver is laid out
    return 0;
}
haddr_t get_allocated(const H5FD_t* file, H5FD_mem_t /*type*/) { return memory(file).allocated; }
herr_t set_allocated(H5FD_t* file, H5FD_mem_t /*type*/, haddr_t bytes) {
    memory(file).allocated = bytes;
    return 0;
}
haddr_t get_end(const H5FD_t* file, H5FD_mem_t /*type*/) { return memory(file).pages->bytes; }
herr_t read_pages(H5FD_t* file, H5FD_mem_t /*type*/, hid_t /*transfer*/, haddr_t at, std::size_t size, void* to) {
    memory(file).pages->read(at, {static_cast<std::byte*>(to), size});
    return 0;
}
herr_t write_pages(H5FD_t* file, H5FD_mem_t /*type*/, hid_t /*transfer*/, haddr_t at, std::size_t size,
                   const void* from) {
    return guarded([&] { memory(file).pages->write(at, {static_cast<const std::byte*>(from), size}); });
}
herr_t truncate_pages(H5FD_t* file, hid_t /*transfer*/, hbool_t /*closing*/) {
    memory(file).pages->bytes = memory(file).allocated;
    return 0;
}

hid_t register_driver() {
    H5FD_class_t driver{};
#ifdef H5FD_CLASS_VERSION
    driver.version = H5FD_CLASS_VERSION;
    driver.value = 500;  // 256 to 511 are for drivers that are not registered
#endif
    driver.name = "kiban-memory";
    driver.maxaddr = kMostBytes;
    driver.fc_degree = H5F_CLOSE_STRONG;
    driver.fapl_size = sizeof(DriverInfo);
    driver.open = open_pages;
    driver.close = close_pages;
    driver.cmp = compare_pages;
    driver.query = query_pages;
    driver.get_eoa = get_allocated;
    driver.set_eoa = set_allocated;
    driver.get_eof = get_end;
    driver.read = read_pages;
    driver.write = write_pages;
    driver.truncate = truncate_pages;
    constexpr std::array<H5FD_mem_t, H5FD_MEM_NTYPES> kFreeLists = H5FD_FLMAP_DICHOTOMY;
    std::ranges::copy(kFreeLists, driver.fl_map);
    return H5FDregister(&driver);
}

H5Handle create_in(Pages& pages, const std::string& label) {
    monitoring::fault_point("h5.create", label);
    const std::lock_guard lock(h5_mutex());
    static const hid_t driver = register_driver();
    h5_check(driver < 0 ? -1 : 0, "register the HDF5 driver for memory");
    const DriverInfo info{&pages};
    return h5_create_with(label, [&](hid_t access) {
        h5_check(H5Pset_driver(access, driver, &info), "choose the HDF5 driver for memory");
    });
}

}  // namespace

H5Image::H5Image(const std::string& label) : pages_(std::make_unique<Pages>()), file_(create_in(*pages_, label)) {}

H5Image::~H5Image() = default;

H5Bytes H5Image::finish() {
    file_.close();
    return pages_->extents();
}

}  // namespace kiban::data
