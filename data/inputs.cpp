// SPDX-License-Identifier: Apache-2.0
#include "data/inputs.h"

#include <dirent.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <optional>
#include <set>

#include "data/tar.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::data {
namespace {

using Identity = std::pair<dev_t, ino_t>;

struct Found {
    std::string name;
    struct stat status {};
};

class Search {
  public:
    explicit Search(const std::filesystem::path& base) : base_(base) {}

    std::filesystem::path resolve(const std::string& name) const {
        return std::filesystem::absolute(base_ / name).lexically_normal();
    }

    std::optional<struct stat> status_of(const std::string& name) const {
        struct stat status {};
        if (::stat(resolve(name).c_str(), &status) == 0) return status;
        if (errno == ENOENT || errno == ENOTDIR || errno == ELOOP) return std::nullopt;
        throw DataError("cannot look at '{}': {}", resolve(name).string(), std::strerror(errno));
    }

    /// A file, or everything below a directory. What is neither (a socket, a dangling link) is logged and left out.
    void add(const std::string& name) {
        const auto status = status_of(name);
        if (status && S_ISDIR(status->st_mode)) {
            if (directories_.insert({status->st_dev, status->st_ino}).second) add_children(name);
        } else if (status && S_ISREG(status->st_mode)) {
            found_.push_back({name, *status});
        } else {
            monitoring::log_warning("'{}' is left out of the corpus: {}", resolve(name).string(),
                                    status ? "it is not a regular file" : "it is a link to nothing");
        }
    }

    std::vector<Found> sorted() {
        std::sort(found_.begin(), found_.end(), [](const Found& x, const Found& y) { return x.name < y.name; });
        std::set<Identity> seen;
        std::erase_if(found_, [&](const Found& file) {
            return !seen.insert({file.status.st_dev, file.status.st_ino}).second;
        });
        return std::move(found_);
    }

  private:
    void add_children(const std::string& directory) {
        DIR* handle = ::opendir(resolve(directory).c_str());
        if (handle == nullptr)
            throw DataError("cannot list '{}': {}", resolve(directory).string(), std::strerror(errno));
        std::vector<std::string> children;
        while (const dirent* entry = ::readdir(handle)) {
            if (entry->d_name[0] != '.') children.emplace_back(entry->d_name);
        }
        ::closedir(handle);
        // Sorted, so that which of two links to one directory is followed does not depend on the file system.
        std::sort(children.begin(), children.end());
        const std::string prefix = directory.ends_with('/') ? directory : directory + "/";
        for (const std::string& child : children) add(prefix + child);
    }

    std::filesystem::path base_;
    std::vector<Found> found_;
    std::set<Identity> directories_;
};

std::vector<std::string> glob_matches(const std::string& pattern, const std::filesystem::path& base) {
    if (pattern.find("**") != std::string::npos) {
        throw ConfigError("cannot search '{}': '**' is not supported; name the directory, it is searched recursively",
                          pattern);
    }
    const bool relative = !std::filesystem::path(pattern).is_absolute();
    const std::string prefix = relative ? std::filesystem::absolute(base).string() + "/" : "";
    std::string escaped;
    for (const char letter : prefix) {
        if (std::strchr("*?[]\\", letter) != nullptr) escaped.push_back('\\');
        escaped.push_back(letter);
    }
    glob_t result{};
    const int code = ::glob((escaped + pattern).c_str(), GLOB_NOSORT | GLOB_ERR, nullptr, &result);
    std::vector<std::string> matches;
    for (std::size_t i = 0; code == 0 && i < result.gl_pathc; ++i) {
        matches.push_back(std::string(result.gl_pathv[i]).substr(prefix.size()));
    }
    ::globfree(&result);
    if (code == GLOB_ABORTED) throw DataError("cannot search '{}': a directory on the way cannot be read", pattern);
    std::sort(matches.begin(), matches.end());
    return matches;
}

std::filesystem::path without_codec(const std::filesystem::path& name) {
    return codec_of(name) == Codec::none ? name : name.stem();
}

InputFile describe(const Found& found, const std::filesystem::path& path, const SourceConfig& source) {
    if (::access(path.c_str(), R_OK) != 0) throw DataError("cannot read '{}': {}", path.string(), std::strerror(errno));
    InputFile file{.name = found.name,
                   .path = path,
                   .bytes = static_cast<std::uint64_t>(found.status.st_size),
                   .codec = codec_of(path)};
    file.modified_ns = found.status.st_mtim.tv_sec * std::int64_t{1'000'000'000} + found.status.st_mtim.tv_nsec;
    file.tar = is_tar(path);
    if (source.format == "jsonl") file.format = Format::jsonl;
    if (source.format == "auto") file.format = file.tar ? Format::by_name : format_of(path);
    return file;
}

}  // namespace

Format format_of(const std::filesystem::path& name) {
    return without_codec(name).extension() == ".jsonl" ? Format::jsonl : Format::text;
}

std::vector<InputFile> list_inputs(const SourceConfig& source, const std::filesystem::path& base) {
    Search search(base);
    std::vector<std::string> names{source.path};
    if (!search.status_of(source.path)) {
        const bool pattern = source.path.find_first_of("*?[") != std::string::npos;
        names = pattern ? glob_matches(source.path, base) : std::vector<std::string>{};
        if (names.empty()) {
            throw DataError("cannot find the data source '{}': {} '{}'", source.path,
                            pattern ? "no file matches" : "there is no", search.resolve(source.path).string());
        }
    }
    for (const std::string& name : names) search.add(name);
    std::vector<InputFile> files;
    std::uint64_t bytes = 0;
    for (const Found& found : search.sorted()) {
        files.push_back(describe(found, search.resolve(found.name), source));
        bytes += files.back().bytes;
    }
    if (bytes == 0) {
        throw DataError("the data source '{}' is empty: {} file{} with no bytes in all", source.path, files.size(),
                        files.size() == 1 ? "" : "s");
    }
    if (source.max_bytes > 0 && bytes > source.max_bytes) {
        throw DataError("the data source '{}' has {} bytes, expected at most its max_bytes, {}", source.path, bytes,
                        source.max_bytes);
    }
    return files;
}

}  // namespace kiban::data
