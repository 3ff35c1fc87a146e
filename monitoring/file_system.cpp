// SPDX-License-Identifier: Apache-2.0
#include "monitoring/file_system.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <string_view>

namespace kiban::monitoring {
namespace {

// The result of a system call, with the reason in it.
template <typename Result>
Result checked(Result result) {
    return result < 0 ? -static_cast<Result>(errno) : result;
}

FileKind kind_of(mode_t mode) {
    if (S_ISREG(mode)) return FileKind::regular;
    return S_ISDIR(mode) ? FileKind::directory : FileKind::other;
}

// On NFS a name that was looked for once and not found is believed to be absent for up to a minute, whatever other
// machines make in the meantime. Opening its directory has the server asked anew (close-to-open, nfs(5)).
bool may_be_there_now(const std::filesystem::path& name) {
    const std::filesystem::path directory = name.has_parent_path() ? name.parent_path() : ".";
    const auto look = [&] { return checked(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); };
    int descriptor = look();
    if (descriptor == -ENOENT && directory != "." && may_be_there_now(directory)) descriptor = look();
    if (descriptor >= 0) ::close(descriptor);
    return descriptor >= 0;
}

class SystemFiles : public FileSystem {
  public:
    int open(const path& name, int flags, unsigned mode) override {
        const int result = checked(::open(name.c_str(), flags | O_CLOEXEC, mode));
        if (result != -ENOENT || !may_be_there_now(name)) return result;
        return checked(::open(name.c_str(), flags | O_CLOEXEC, mode));
    }
    std::int64_t write(int descriptor, std::span<const std::byte> bytes) override {
        return checked(::write(descriptor, bytes.data(), bytes.size()));
    }
    std::int64_t write_at(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes) override {
        return checked(::pwrite(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset)));
    }
    std::int64_t read_at(int descriptor, std::uint64_t offset, std::span<std::byte> bytes) override {
        return checked(::pread(descriptor, bytes.data(), bytes.size(), static_cast<off_t>(offset)));
    }
    int preallocate(int descriptor, std::uint64_t bytes) override {
        return -::posix_fallocate(descriptor, 0, static_cast<off_t>(bytes));
    }
    int truncate(int descriptor, std::uint64_t bytes) override {
        return checked(::ftruncate(descriptor, static_cast<off_t>(bytes)));
    }
    int sync(int descriptor) override { return checked(::fsync(descriptor)); }
    int set_direct(int descriptor, bool on) override {
        const int flags = ::fcntl(descriptor, F_GETFL);
        if (flags < 0) return -errno;
        return checked(::fcntl(descriptor, F_SETFL, on ? flags | O_DIRECT : flags & ~O_DIRECT));
    }
    int close(int descriptor) override { return checked(::close(descriptor)); }
    std::int64_t size(int descriptor) override {
        struct stat status {};
        return ::fstat(descriptor, &status) != 0 ? -errno : status.st_size;
    }

    int rename(const path& from, const path& to) override { return checked(std::rename(from.c_str(), to.c_str())); }
    int unlink(const path& name) override { return checked(::unlink(name.c_str())); }
    int make_directory(const path& name) override { return checked(::mkdir(name.c_str(), 0755)); }
    int remove_directory(const path& name) override { return checked(::rmdir(name.c_str())); }
    int sync_directory(const path& name) override {
        const int descriptor = open(name, O_RDONLY | O_DIRECTORY, 0);
        if (descriptor < 0) return descriptor;
        const int result = sync(descriptor);
        ::close(descriptor);
        return result;
    }
    int list(const path& name, std::vector<std::string>& names) override {
        DIR* directory = ::opendir(name.c_str());
        if (directory == nullptr) return -errno;
        errno = 0;
        while (const dirent* entry = ::readdir(directory)) {
            const std::string_view found = entry->d_name;
            if (found != "." && found != "..") names.emplace_back(found);
            errno = 0;
        }
        const int code = errno;
        ::closedir(directory);
        return -code;
    }
    int status(const path& name, bool follow_links, FileStatus& status) override {
        struct stat found {};
        const auto look = [&] {
            return checked(follow_links ? ::stat(name.c_str(), &found) : ::lstat(name.c_str(), &found));
        };
        int result = look();
        if (result == -ENOENT && may_be_there_now(name)) result = look();
        if (result != 0) {
            status = {};
            return result == -ENOENT || result == -ENOTDIR ? 0 : result;
        }
        status = {kind_of(found.st_mode), static_cast<std::uint64_t>(found.st_size)};
        return 0;
    }
    int free_bytes(const path& name, std::uint64_t& bytes) override {
        struct statvfs status {};
        if (::statvfs(name.c_str(), &status) != 0) return -errno;
        bytes = static_cast<std::uint64_t>(status.f_bavail) * status.f_frsize;
        return 0;
    }
};

std::atomic<FileSystem*>& in_use() {
    static SystemFiles system;
    static std::atomic<FileSystem*> files{&system};
    return files;
}

}  // namespace

FileSystem& file_system() { return *in_use().load(std::memory_order_acquire); }

FileSystemInUse::FileSystemInUse(FileSystem& other) : before_(in_use().exchange(&other)) {}
FileSystemInUse::~FileSystemInUse() { in_use().store(before_); }

}  // namespace kiban::monitoring
