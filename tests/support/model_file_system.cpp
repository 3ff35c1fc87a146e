// SPDX-License-Identifier: Apache-2.0
#include "tests/support/model_file_system.h"

#include <fcntl.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

namespace kiban::testing {

using Kind = FileOperation::Kind;
using monitoring::FileKind;

std::string describe(const FileOperation& operation) {
    static constexpr const char* kNames[] = {"link",     "move", "unlink",         "write", "preallocate",
                                             "truncate", "sync", "sync directory", "note"};
    return std::string(kNames[static_cast<int>(operation.kind)]) + " " + operation.text;
}

void FileTree::apply(const FileOperation& operation) {
    if (operation.kind == Kind::note) return;
    nodes[operation.inode].directory |= operation.makes_directory;
    const auto erase = [&](int directory, const std::string& name) {
        auto& entries = nodes[directory].entries;
        const auto entry = entries.find(name);
        if (entry != entries.end() && entry->second == operation.inode) entries.erase(entry);
    };
    std::vector<std::byte>& content = nodes[operation.inode].content;
    switch (operation.kind) {
        case Kind::move: erase(operation.from_directory, operation.from_name); [[fallthrough]];
        case Kind::link: nodes[operation.directory].entries[operation.name] = operation.inode; break;
        case Kind::unlink: erase(operation.directory, operation.name); break;
        case Kind::write:
            content.resize(std::max<std::size_t>(content.size(), operation.offset + operation.bytes.size()));
            std::ranges::copy(operation.bytes, content.begin() + static_cast<std::ptrdiff_t>(operation.offset));
            break;
        case Kind::preallocate: content.resize(std::max<std::size_t>(content.size(), operation.offset)); break;
        case Kind::truncate: content.resize(operation.offset); break;
        case Kind::sync:
        case Kind::sync_directory:
        case Kind::note: break;
    }
}

int FileTree::find(const std::filesystem::path& name) const {
    int inode = kRoot;
    for (const auto& part : name.relative_path()) {
        if (part.empty() || part == ".") continue;
        const auto node = nodes.find(inode);
        if (node == nodes.end()) return 0;
        const auto entry = node->second.entries.find(part.string());
        if (entry == node->second.entries.end()) return 0;
        inode = entry->second;
    }
    return inode;
}

ModelFileSystem::ModelFileSystem(FileTree tree) : tree_(std::move(tree)) {
    next_inode_ = tree_.nodes.rbegin()->first + 1;
}

void ModelFileSystem::record(FileOperation operation) {
    tree_.apply(operation);
    trace_.push_back(std::move(operation));
}

void ModelFileSystem::note(const std::string& text) { record({.kind = Kind::note, .text = text}); }

int ModelFileSystem::directory_of(const path& name) const {
    const int inode = tree_.find(name.parent_path());
    return inode != 0 && tree_.nodes.at(inode).directory ? inode : 0;
}

int ModelFileSystem::make(const path& name, bool directory) {
    const int parent = directory_of(name);
    if (parent == 0) return -ENOENT;
    const int inode = next_inode_++;
    record({.kind = Kind::link,
            .inode = inode,
            .directory = parent,
            .name = name.filename().string(),
            .text = name.string(),
            .makes_directory = directory});
    return inode;
}

int ModelFileSystem::open(const path& name, int flags, unsigned /*mode*/) {
    int inode = tree_.find(name);
    if (inode != 0 && (flags & O_EXCL) != 0) return -EEXIST;
    if (inode == 0 && (flags & O_CREAT) == 0) return -ENOENT;
    if (inode == 0) inode = make(name, false);
    if (inode < 0) return inode;
    open_[next_descriptor_] = {inode, 0, (flags & O_APPEND) != 0};
    return next_descriptor_++;
}

std::int64_t ModelFileSystem::write(int descriptor, std::span<const std::byte> bytes) {
    OpenFile& file = open_.at(descriptor);
    if (file.appends) file.at = tree_.nodes.at(file.inode).content.size();
    const std::int64_t written = write_at(descriptor, file.at, bytes);
    file.at += bytes.size();
    return written;
}

std::int64_t ModelFileSystem::write_at(int descriptor, std::uint64_t offset, std::span<const std::byte> bytes) {
    const int inode = open_.at(descriptor).inode;
    record({.kind = Kind::write,
            .inode = inode,
            .offset = offset,
            .bytes = {bytes.begin(), bytes.end()},
            .text = std::to_string(bytes.size()) + " bytes to inode " + std::to_string(inode)});
    return static_cast<std::int64_t>(bytes.size());
}

std::int64_t ModelFileSystem::read_at(int descriptor, std::uint64_t offset, std::span<std::byte> bytes) {
    const auto& content = tree_.nodes.at(open_.at(descriptor).inode).content;
    if (offset >= content.size()) return 0;
    const std::size_t size = std::min<std::size_t>(bytes.size(), content.size() - offset);
    std::memcpy(bytes.data(), content.data() + offset, size);
    return static_cast<std::int64_t>(size);
}

int ModelFileSystem::preallocate(int descriptor, std::uint64_t bytes) {
    record({.kind = Kind::preallocate, .inode = open_.at(descriptor).inode, .offset = bytes});
    return 0;
}
int ModelFileSystem::truncate(int descriptor, std::uint64_t bytes) {
    record({.kind = Kind::truncate, .inode = open_.at(descriptor).inode, .offset = bytes});
    return 0;
}
int ModelFileSystem::sync(int descriptor) {
    const int inode = open_.at(descriptor).inode;
    record({.kind = Kind::sync, .inode = inode, .text = "inode " + std::to_string(inode)});
    return 0;
}
int ModelFileSystem::close(int descriptor) { return open_.erase(descriptor) == 1 ? 0 : -EBADF; }
std::int64_t ModelFileSystem::size(int descriptor) {
    return static_cast<std::int64_t>(tree_.nodes.at(open_.at(descriptor).inode).content.size());
}

int ModelFileSystem::rename(const path& from, const path& to) {
    const int inode = tree_.find(from);
    const int parent = directory_of(to);
    if (inode == 0 || parent == 0) return -ENOENT;
    if (const int other = tree_.find(to); other != 0 && tree_.nodes.at(other).directory) return -ENOTEMPTY;
    record({.kind = Kind::move,
            .inode = inode,
            .directory = parent,
            .name = to.filename().string(),
            .from_directory = directory_of(from),
            .from_name = from.filename().string(),
            .text = from.string() + " to " + to.string()});
    return 0;
}

int ModelFileSystem::record_unlink(const path& name, int inode) {
    record({.kind = Kind::unlink,
            .inode = inode,
            .directory = directory_of(name),
            .name = name.filename().string(),
            .text = name.string()});
    return 0;
}

int ModelFileSystem::unlink(const path& name) {
    const int inode = tree_.find(name);
    if (inode == 0) return -ENOENT;
    if (tree_.nodes.at(inode).directory) return -EISDIR;
    return record_unlink(name, inode);
}

int ModelFileSystem::make_directory(const path& name) {
    if (tree_.find(name) != 0) return -EEXIST;
    const int inode = make(name, true);
    return inode < 0 ? inode : 0;
}

int ModelFileSystem::remove_directory(const path& name) {
    const int inode = tree_.find(name);
    if (inode == 0) return -ENOENT;
    if (!tree_.nodes.at(inode).entries.empty()) return -ENOTEMPTY;
    return record_unlink(name, inode);
}

int ModelFileSystem::sync_directory(const path& name) {
    const int inode = tree_.find(name);
    if (inode == 0) return -ENOENT;
    record({.kind = Kind::sync_directory, .inode = inode, .text = name.string()});
    return 0;
}

int ModelFileSystem::list(const path& name, std::vector<std::string>& names) {
    const int inode = tree_.find(name);
    if (inode == 0) return -ENOENT;
    if (!tree_.nodes.at(inode).directory) return -ENOTDIR;
    for (const auto& [entry, child] : tree_.nodes.at(inode).entries) names.push_back(entry);
    return 0;
}

int ModelFileSystem::status(const path& name, bool /*follow_links*/, monitoring::FileStatus& status) {
    const int inode = tree_.find(name);
    status = {};
    if (inode == 0) return 0;
    const FileTree::Node& node = tree_.nodes.at(inode);
    status = {node.directory ? FileKind::directory : FileKind::regular, node.content.size()};
    return 0;
}

int ModelFileSystem::free_bytes(const path& /*name*/, std::uint64_t& bytes) {
    bytes = std::uint64_t{1} << 40;
    return 0;
}

}  // namespace kiban::testing
