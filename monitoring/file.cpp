// SPDX-License-Identifier: Apache-2.0
#include "monitoring/file.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
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

void check(int result, const char* operation, const path& name) {
    if (result < 0) fail(operation, name, -result);
}

int open_or_fail(const path& name, int flags, unsigned mode, const char* operation) {
    const int descriptor = file_system().open(name, flags, mode);
    check(descriptor, operation, name);
    return descriptor;
}

// "" is the directory of a name without one.
path here_if_empty(const path& directory) { return directory.empty() ? path(".") : directory; }

void publish_with(File file, const path& temporary, const path& name, std::string_view content,
                  std::string_view point) {
    try {
        file.append(std::as_bytes(std::span(content)));
        file.sync(point);
        file.close();
        fault_point(point, name);
        replace(temporary, name);
    } catch (...) {
        file_system().unlink(temporary);
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
std::optional<File> File::open_read_if_exists(const path& name) {
    const int descriptor = file_system().open(name, O_RDONLY, 0);
    if (descriptor == -ENOENT) return std::nullopt;
    check(descriptor, "read", name);
    return File(descriptor, name);
}
File File::open_write(const path& name) { return {open_or_fail(name, O_RDWR, 0, "open for writing"), name}; }
File File::open_append(const path& name) {
    return {open_or_fail(name, O_RDWR | O_CREAT | O_APPEND, 0644, "open for appending"), name};
}

File::File(File&& other) noexcept
    : descriptor_(std::exchange(other.descriptor_, -1)), direct_(other.direct_), name_(std::move(other.name_)) {}

File& File::operator=(File&& other) noexcept {
    if (this != &other) {
        if (descriptor_ >= 0) file_system().close(descriptor_);
        descriptor_ = std::exchange(other.descriptor_, -1);
        direct_ = other.direct_;
        name_ = std::move(other.name_);
    }
    return *this;
}

File::~File() {
    if (descriptor_ >= 0) file_system().close(descriptor_);
}

void File::append(std::span<const std::byte> bytes) {
    fault_point("file.write", name_);
    for (auto rest = bytes; !rest.empty();) {
        const std::int64_t written = file_system().write(descriptor_, rest);
        if (written == -EINTR) continue;
        if (written < 0) fail_writing(bytes.size(), name_, static_cast<int>(-written));
        rest = rest.subspan(static_cast<std::size_t>(written));
    }
}

void File::write_at(std::uint64_t offset, std::span<const std::byte> bytes) {
    fault_point("file.write", name_);
    for (auto rest = bytes; !rest.empty();) {
        const std::int64_t written = file_system().write_at(descriptor_, offset, rest);
        if (written == -EINTR) continue;
        if (written == -EINVAL && direct_ && !set_direct(false)) continue;  // some file systems say so only now
        if (written < 0) fail_writing(bytes.size(), name_, static_cast<int>(-written));
        offset += static_cast<std::uint64_t>(written);
        rest = rest.subspan(static_cast<std::size_t>(written));
    }
}

void File::read_at(std::uint64_t offset, std::span<std::byte> bytes) const {
    while (!bytes.empty()) {
        const std::int64_t got = file_system().read_at(descriptor_, offset, bytes);
        if (got == -EINTR) continue;
        if (got < 0) fail("read", name_, static_cast<int>(-got));
        if (got == 0) {
            throw IoError("cannot read {} bytes at offset {} of '{}': it ends at {} bytes", bytes.size(), offset,
                          name_.string(), size());
        }
        offset += static_cast<std::uint64_t>(got);
        bytes = bytes.subspan(static_cast<std::size_t>(got));
    }
}

void File::preallocate(std::uint64_t bytes) {
    fault_point("file.preallocate", name_);
    if (bytes == 0) return;
    const int result = file_system().preallocate(descriptor_, bytes);
    if (result < 0) {
        throw IoError("cannot reserve {} bytes for '{}': {} ({} bytes free)", bytes, name_.string(),
                      std::strerror(-result), free_bytes(name_.parent_path()));
    }
}

void File::truncate(std::uint64_t bytes) { check(file_system().truncate(descriptor_, bytes), "truncate", name_); }

bool File::set_direct(bool on) {
    if (on != direct_ && file_system().set_direct(descriptor_, on) >= 0) direct_ = on;
    return direct_;
}

void File::sync(std::string_view point) {
    fault_point(point, name_);
    check(file_system().sync(descriptor_), "make durable", name_);
}

void File::close() {
    const int descriptor = std::exchange(descriptor_, -1);
    if (descriptor < 0) return;
    const int result = file_system().close(descriptor);
    fault_point("file.close", name_);  // one that fails has let go of the file all the same
    check(result, "close", name_);
}

std::uint64_t File::size() const {
    const std::int64_t bytes = file_system().size(descriptor_);
    if (bytes < 0) fail("stat", name_, static_cast<int>(-bytes));
    return static_cast<std::uint64_t>(bytes);
}

std::string read_text(const path& name) {
    auto content = read_text_if_exists(name);
    if (!content) fail("read", name, ENOENT);
    return *std::move(content);
}

std::optional<std::string> read_text_if_exists(const path& name) {
    const auto file = File::open_read_if_exists(name);
    if (!file) return std::nullopt;
    std::string content(file->size(), '\0');
    file->read_at(0, std::as_writable_bytes(std::span(content)));
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

FileStatus status_of(const path& name) {
    FileStatus status;
    check(file_system().status(name, true, status), "stat", name);
    return status;
}

FileStatus link_status_of(const path& name) {
    FileStatus status;
    check(file_system().status(name, false, status), "stat", name);
    return status;
}

bool anything_at(const path& name) { return status_of(name).kind != FileKind::none; }
bool directory_at(const path& name) { return status_of(name).kind == FileKind::directory; }

std::vector<std::string> names_in(const path& directory) {
    std::vector<std::string> names;
    check(file_system().list(here_if_empty(directory), names), "list", directory);
    std::ranges::sort(names);
    return names;
}

void remove_file(const path& name) {
    const int result = file_system().unlink(name);
    if (result != -ENOENT) check(result, "delete", name);
}

void remove_tree(const path& name) {
    const FileKind kind = link_status_of(name).kind;
    if (kind == FileKind::none) return;
    if (kind != FileKind::directory) return remove_file(name);
    for (const std::string& entry : names_in(name)) remove_tree(name / entry);
    const int result = file_system().remove_directory(name);
    if (result != -ENOENT) check(result, "delete directory", name);
}

void rename_durably(const path& from, const path& to, std::string_view point) {
    fault_point(point, to);
    if (anything_at(to)) throw IoError("cannot rename '{}': '{}' exists already", from.string(), to.string());
    check(file_system().rename(from, to), "rename into place", to);
    sync_directory(to.parent_path());
    if (from.parent_path() != to.parent_path()) sync_directory(from.parent_path());
}

void replace(const path& from, const path& to) { check(file_system().rename(from, to), "rename into place", to); }

void sync_directory(const path& directory) {
    const path name = here_if_empty(directory);
    const int result = file_system().sync_directory(name);
    check(result, result == -ENOENT || result == -ENOTDIR ? "open directory" : "make directory durable", name);
}

void make_directories(const path& directory) {
    FileStatus status;  // an unreadable parent is reported by mkdir
    const auto is_there = [&] {
        return file_system().status(directory, true, status) == 0 && status.kind == FileKind::directory;
    };
    if (directory.empty() || is_there()) return;
    make_directories(directory.parent_path());
    const int result = file_system().make_directory(directory);
    if (result != -EEXIST || !is_there()) check(result, "make directory", directory);
    sync_directory(directory.parent_path());
}

std::uint64_t free_bytes(const path& directory) {
    std::uint64_t bytes = 0;
    const path name = here_if_empty(directory);
    check(file_system().free_bytes(name, bytes), "ask for free space of", name);
    return bytes;
}

}  // namespace kiban::monitoring
