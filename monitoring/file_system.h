// SPDX-License-Identifier: Apache-2.0
// What monitoring/file.h asks of the system, so that a test can put a file system of its own under it (a model that
// forgets what was not synced: tests/support/model_file_system.h). Private to monitoring/file.cpp and tests.
//
// Functions behave as the system calls of their names; a negative result is -errno. The system's own is thread-safe.
#pragma once

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

namespace kiban::monitoring {

enum class FileKind { none, regular, directory, other };
struct FileStatus {
    FileKind kind = FileKind::none;
    std::uint64_t bytes = 0;
};

inline constexpr std::uint64_t kDirectBytes = 4096;

class FileSystem {
  public:
    using path = std::filesystem::path;
    virtual ~FileSystem() = default;

    virtual int open(const path& name, int flags, unsigned mode) = 0;  // O_*; a descriptor
    virtual std::int64_t write(int descriptor, std::span<const std::byte> bytes) = 0;
    virtual std::int64_t write_at(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes) = 0;
    virtual std::int64_t read_at(int descriptor, std::uint64_t offset, std::span<std::byte> bytes) = 0;
    virtual int preallocate(int descriptor, std::uint64_t bytes) = 0;
    virtual int truncate(int descriptor, std::uint64_t bytes) = 0;
    virtual int sync(int descriptor) = 0;
    /// Writes of whole multiples of kDirectBytes, in memory and file, past the page cache; a file system need not offer
    /// it.
    virtual int set_direct(int /*descriptor*/, bool on) { return on ? -EINVAL : 0; }
    virtual int close(int descriptor) = 0;
    virtual std::int64_t size(int descriptor) = 0;

    virtual int rename(const path& from, const path& to) = 0;
    virtual int unlink(const path& name) = 0;
    virtual int make_directory(const path& name) = 0;
    virtual int remove_directory(const path& name) = 0;
    virtual int sync_directory(const path& name) = 0;
    virtual int list(const path& name, std::vector<std::string>& names) = 0;  // without . and ..
    /// A missing file is kind none, not a failure.
    virtual int status(const path& name, bool follow_links, FileStatus& status) = 0;
    virtual int free_bytes(const path& name, std::uint64_t& bytes) = 0;
};

/// The one in use: the system's own unless a test has put another in its place.
FileSystem& file_system();

/// For tests: `other` is in use while this lives. Not while other threads use files.
class FileSystemInUse {
  public:
    explicit FileSystemInUse(FileSystem& other);
    ~FileSystemInUse();
    FileSystemInUse(const FileSystemInUse&) = delete;
    FileSystemInUse& operator=(const FileSystemInUse&) = delete;

  private:
    FileSystem* before_;
};

}  // namespace kiban::monitoring
