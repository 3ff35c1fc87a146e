// SPDX-License-Identifier: Apache-2.0
// A file system in memory that records every operation and knows what of it would survive a loss of power: data that
// was not synced and names in directories that were not synced may be gone, there, or, for data, partly there.
//
// It answers as a POSIX system does for what monitoring/file.h asks. What it promises after a crash is less than any
// journaling file system gives: each name and each write is lost or kept by itself, in any combination, whatever their
// order; only a rename is one thing. A file's own sync does not make its name durable. One thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "monitoring/file_system.h"

namespace kiban::testing {

/// One change, or one promise, in the order in which they were made.
struct FileOperation {
    enum class Kind { link, move, unlink, write, preallocate, truncate, sync, sync_directory, note };
    Kind kind = Kind::note;
    int inode = 0;      // the file or directory that it is about; for sync_directory the directory
    int directory = 0;  // link, move, unlink: where the name is
    std::string name = {};
    int from_directory = 0;  // move: where it was
    std::string from_name = {};
    std::uint64_t offset = 0;  // write; preallocate and truncate: the size
    std::vector<std::byte> bytes = {};
    std::string text = {};  // note: what the test says; else for messages
    bool makes_directory = false;
};
using Trace = std::vector<FileOperation>;
std::string describe(const FileOperation& operation);

/// What lies on a disk.
struct FileTree {
    struct Node {
        bool directory = false;
        std::vector<std::byte> content;
        std::map<std::string, int> entries;
        bool operator==(const Node&) const = default;
    };
    static constexpr int kRoot = 1;
    std::map<int, Node> nodes{{kRoot, {true, {}, {}}}};
    bool operator==(const FileTree&) const = default;

    void apply(const FileOperation& operation);
    /// The inode of an absolute path; 0 when there is none.
    int find(const std::filesystem::path& name) const;
};

class ModelFileSystem : public monitoring::FileSystem {
  public:
    ModelFileSystem() = default;
    explicit ModelFileSystem(FileTree tree);

    const Trace& trace() const { return trace_; }
    const FileTree& tree() const { return tree_; }
    /// A mark in the trace: what the test knows to be so from here on.
    void note(const std::string& text);

    int open(const path& name, int flags, unsigned mode) override;
    std::int64_t write(int descriptor, std::span<const std::byte> bytes) override;
    std::int64_t write_at(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes) override;
    std::int64_t read_at(int descriptor, std::uint64_t offset, std::span<std::byte> bytes) override;
    int preallocate(int descriptor, std::uint64_t bytes) override;
    int truncate(int descriptor, std::uint64_t bytes) override;
    int sync(int descriptor) override;
    int close(int descriptor) override;
    std::int64_t size(int descriptor) override;
    int rename(const path& from, const path& to) override;
    int unlink(const path& name) override;
    int make_directory(const path& name) override;
    int remove_directory(const path& name) override;
    int sync_directory(const path& name) override;
    int list(const path& name, std::vector<std::string>& names) override;
    int status(const path& name, bool follow_links, monitoring::FileStatus& status) override;
    int free_bytes(const path& name, std::uint64_t& bytes) override;

  private:
    int record_unlink(const path& name, int inode);
    struct OpenFile {
        int inode = 0;
        std::uint64_t at = 0;
        bool appends = false;
    };
    void record(FileOperation operation);
    int make(const path& name, bool directory);
    int directory_of(const path& name) const;  // the inode of the parent; 0 when it is missing or none

    FileTree tree_;
    Trace trace_;
    std::map<int, OpenFile> open_;
    int next_inode_ = FileTree::kRoot + 1;
    int next_descriptor_ = 1 << 20;  // the system knows no such descriptor
};

/// The disks that a loss of power after the first `operations` of a trace may leave: every combination of what was not
/// durable when there are at most `most` of them, else the two extremes, each single deviation from them, and random
/// ones up to `most`. Equal disks are visited once. Returns how many were visited.
std::size_t for_each_disk_after_crash(const Trace& trace, std::size_t operations, std::size_t most,
                                      const std::function<void(const FileTree&)>& visit);

}  // namespace kiban::testing
