// SPDX-License-Identifier: Apache-2.0
#include "monitoring/file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <random>
#include <utility>

#include "monitoring/error.h"
#include "monitoring/fault.h"

namespace kiban::monitoring {
namespace {

[[noreturn]] void fail(const char* operation, const path& name, int code) {
    throw IoError("cannot {} '{}': {}", operation, name.string(), std::strerror(code));
}

[[noreturn]] void fail_writing(std::size_t bytes, const path& name, int code) {
    std::string free;
    if (code == ENOSPC || code == EDQUOT) free = fmt::format(" ({} bytes free)", free_bytes(name.parent_path()));
    throw IoError("cannot write {} bytes to '{}': {}{}", bytes, name.string(), std::strerror(code), free);
}

int open_or_fail(const path& name, int flags, mode_t mode, const char* operation) {
    const int descriptor = ::open(name.c_str(), flags | O_CLOEXEC, mode);
    if (descriptor < 0) fail(operation, name, errno);
    return descriptor;
}

void publish_with(File file, const path& temporary, const path& name, std::string_view content,
                  std::string_view point) {
    try {
        file.append(std::as_bytes(std::span(content)));
        file.sync(point);
        file.close();
        fault_point(point, name);
        if (::rename(temporary.c_str(), name.c_str()) != 0) fail("rename into place", name, errno);
    } catch (...) {
        ::unlink(temporary.c_str());
        throw;
    }
    sync_directory(name.parent_path());
}

// Random: in containers a process that was killed and its successor have the same process id.
path temporary_name(const path& name) {
    std::random_device random;
    return name.parent_path() / fmt::format(".{}.{:08x}{:08x}.tmp", name.filename().string(), random(), random());
}

}  // namespace

File File::create(const path& name) { return {open_or_fail(name, O_RDWR | O_CREAT | O_EXCL, 0644, "create"), name}; }
File File::create_private(const path& name) {
    return {open_or_fail(name, O_RDWR | O_CREAT | O_EXCL, 0600, "create"), name};
}
File File::open_read(const path& name) { return {open_or_fail(name, O_RDONLY, 0, "read"), name}; }
File File::open_write(const path& name) { return {open_or_fail(name, O_RDWR, 0, "open for writing"), name}; }
File File::open_append(const path& name) {
    return {open_or_fail(name, O_RDWR | O_CREAT | O_APPEND, 0644, "open for appending"), name};
}

File::File(File&& other) noexcept : descriptor_(std::exchange(other.descriptor_, -1)), name_(std::move(other.name_)) {}

File& File::operator=(File&& other) noexcept {
    if (this != &other) {
        if (descriptor_ >= 0) ::close(descriptor_);
        descriptor_ = std::exchange(other.descriptor_, -1);
        name_ = std::move(other.name_);
    }
    return *this;
}

File::~File() {
    if (descriptor_ >= 0) ::close(descriptor_);
}

void File::append(std::span<const std::byte> bytes) {
    fault_point("file.write", name_);
    const std::byte* data = bytes.data();
    for (std::size_t left = bytes.size(); left > 0;) {
        const ssize_t written = ::write(descriptor_, data, left);
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail_writing(bytes.size(), name_, errno);
        data += written;
        left -= static_cast<std::size_t>(written);
    }
}

void File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    fault_point("file.write", name_);
    const std::byte* data = bytes.data();
    for (std::size_t left = bytes.size(); left > 0;) {
        const ssize_t written = ::pwrite(descriptor_, data, left, static_cast<off_t>(offset));
        if (written < 0 && errno == EINTR) continue;
        if (written < 0) fail_writing(bytes.size(), name_, errno);
        data += written;
        offset += static_cast<std::uint64_t>(written);
        left -= static_cast<std::size_t>(written);
    }
}

void File::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
    std::byte* data = bytes.data();
    for (std::size_t left = bytes.size(); left > 0;) {
        const ssize_t got = ::pread(descriptor_, data, left, static_cast<off_t>(offset));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) fail("read", name_, errno);
        if (got == 0) {
            throw IoError("cannot read {} bytes at offset {} of '{}': it ends at {} bytes", left, offset,
                          name_.string(), size());
        }
        data += got;
        offset += static_cast<std::uint64_t>(got);
        left -= static_cast<std::size_t>(got);
    }
}

void File::preallocate(std::uint64_t bytes) {
    fault_point("file.preallocate", name_);
    if (bytes == 0) return;
    const int code = ::posix_fallocate(descriptor_, 0, static_cast<off_t>(bytes));
    if (code != 0) {
        throw IoError("cannot reserve {} bytes for '{}': {} ({} bytes free)", bytes, name_.string(),
                      std::strerror(code), free_bytes(name_.parent_path()));
    }
}

void File::truncate(std::uint64_t bytes) {
    if (::ftruncate(descriptor_, static_cast<off_t>(bytes)) != 0) fail("truncate", name_, errno);
}

void File::sync(std::string_view point) {
    fault_point(point, name_);
    if (::fsync(descriptor_) != 0) fail("make durable", name_, errno);
}

void File::close() {
    const int descriptor = std::exchange(descriptor_, -1);
    if (descriptor >= 0 && ::close(descriptor) != 0) fail("close", name_, errno);
}

std::uint64_t File::size() const {
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0) fail("stat", name_, errno);
    return static_cast<std::uint64_t>(status.st_size);
}

std::string read_text(const path& name) {
    auto content = read_text_if_exists(name);
    if (!content) fail("read", name, ENOENT);
    return *std::move(content);
}

std::optional<std::string> read_text_if_exists(const path& name) {
    const int descriptor = ::open(name.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0 && errno == ENOENT) return std::nullopt;
    if (descriptor < 0) fail("read", name, errno);
    const File file(descriptor, name);
    std::string content(file.size(), '\0');
    file.read_at(0, std::as_writable_bytes(std::span(content)));
    return content;
}

void publish(const path& name, std::string_view content, std::string_view point) {
    const path temporary = temporary_name(name);
    publish_with(File::create(temporary), temporary, name, content, point);
}

void publish_private(const path& name, std::string_view content) {
    const path temporary = temporary_name(name);
    publish_with(File::create_private(temporary), temporary, name, content, "file.publish");
}

void rename_durably(const path& from, const path& to, std::string_view point) {
    fault_point(point, to);
    if (std::filesystem::exists(to))
        throw IoError("cannot rename '{}': '{}' exists already", from.string(), to.string());
    if (::rename(from.c_str(), to.c_str()) != 0) fail("rename into place", to, errno);
    sync_directory(to.parent_path());
    if (from.parent_path() != to.parent_path()) sync_directory(from.parent_path());
}

void sync_directory(const path& directory) {
    const path name = directory.empty() ? path(".") : directory;
    const int descriptor = open_or_fail(name, O_RDONLY | O_DIRECTORY, 0, "open directory");
    const int result = ::fsync(descriptor);
    const int code = errno;
    ::close(descriptor);
    if (result != 0) fail("make directory durable", name, code);
}

void make_directories(const path& directory) {
    std::error_code ignored;  // an unreadable parent is reported by mkdir
    if (directory.empty() || std::filesystem::is_directory(directory, ignored)) return;
    make_directories(directory.parent_path());
    if (::mkdir(directory.c_str(), 0755) != 0) {
        const int code = errno;
        if (code != EEXIST || !std::filesystem::is_directory(directory, ignored))
            fail("make directory", directory, code);
    }
    sync_directory(directory.parent_path());
}

std::uint64_t free_bytes(const path& directory) {
    struct statvfs status {};
    const path name = directory.empty() ? path(".") : directory;
    if (::statvfs(name.c_str(), &status) != 0) fail("ask for free space of", name, errno);
    return static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
}

}  // namespace kiban::monitoring
