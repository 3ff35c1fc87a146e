// SPDX-License-Identifier: Apache-2.0
// The one place through which Kiban writes files: checked writes, fsync, atomic publish, fault points
// (monitoring/fault.h).
//
// Every failure throws IoError naming the operation, the path and the system's reason; a full disk says how many bytes
// were wanted. Nothing here is thread-safe for one File; different Files may be used from different threads.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "monitoring/file_system.h"

namespace kiban::monitoring {

using std::filesystem::path;

/// A move-only file descriptor. The destructor closes and swallows errors; call close() to see them.
class File {
  public:
    static File create(const path& name);          // must not exist; mode 0644
    static File create_private(const path& name);  // must not exist; mode 0600
    static File open_read(const path& name);
    static std::optional<File> open_read_if_exists(const path& name);
    static File open_write(const path& name);   // must exist; read and write
    static File open_append(const path& name);  // made when missing

    File(File&& other) noexcept;
    File& operator=(File&& other) noexcept;
    File(const File&) = delete;
    File& operator=(const File&) = delete;
    ~File();

    void append(std::span<const std::byte> bytes);  // all of them or IoError
    void write_at(std::uint64_t offset, std::span<const std::byte> bytes);
    void read_at(std::uint64_t offset, std::span<std::byte> bytes) const;  // IoError when the file ends before
    void preallocate(std::uint64_t bytes);  // IoError (disk full) before any payload byte is written
    void truncate(std::uint64_t bytes);
    /// From now on write_at() goes past the page cache, or no longer: then offset, memory and bytes are multiples of
    /// kDirectBytes. Whether it is on: not every file system offers it.
    bool set_direct(bool on);
    void sync(std::string_view point = "file.sync");
    void close();
    std::uint64_t size() const;
    int descriptor() const { return descriptor_; }
    const path& name() const { return name_; }

  private:
    File(int descriptor, path name) : descriptor_(descriptor), name_(std::move(name)) {}

    int descriptor_ = -1;
    bool direct_ = false;
    path name_;
};

/// Whole content of a file; IoError when missing.
std::string read_text(const path& name);
std::optional<std::string> read_text_if_exists(const path& name);

/// Replaces `name` by `content`, all or nothing and durable: temporary name, fsync, rename, fsync of the directory.
void publish(const path& name, std::string_view content, std::string_view point = "file.publish");
/// As publish, with mode 0600.
void publish_private(const path& name, std::string_view content);

/// The kind and size of what the name stands for, symbolic links followed or not; kind none when there is nothing.
FileStatus status_of(const path& name);
FileStatus link_status_of(const path& name);
bool anything_at(const path& name);
bool directory_at(const path& name);
/// Names in a directory, sorted, without . and ..
std::vector<std::string> names_in(const path& directory);
/// Nothing to do when it is missing.
void remove_file(const path& name);
/// A file, or a directory with all that is in it; symbolic links are not followed. Nothing to do when it is missing.
void remove_tree(const path& name);

/// rename + fsync of both parent directories. Fails when `to` exists.
void rename_durably(const path& from, const path& to, std::string_view point = "file.rename");
/// rename over what is there, not durable.
void replace(const path& from, const path& to);
void sync_directory(const path& directory);
/// Makes the directory and its parents and syncs the parents.
void make_directories(const path& directory);
std::uint64_t free_bytes(const path& directory);

}  // namespace kiban::monitoring
