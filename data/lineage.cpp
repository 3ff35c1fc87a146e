// SPDX-License-Identifier: Apache-2.0
#include "data/lineage.h"

#include <nlohmann/json.hpp>
#include <sys/file.h>

#include <algorithm>
#include <cerrno>
#include <set>
#include <sstream>

#include "data/digest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kFile = "lineage.jsonl";

std::vector<std::string> ids_of(const Manifest& manifest) {
    std::vector<std::string> ids;
    for (const ManifestSource& source : manifest.sources) ids.push_back(source.id);
    return ids;
}

bool begins_with_sources_of(const Manifest& corpus, const Manifest& parent) {
    const std::vector<std::string> mine = ids_of(corpus);
    const std::vector<std::string> theirs = ids_of(parent);
    return theirs.size() <= mine.size() && std::equal(theirs.begin(), theirs.end(), mine.begin());
}

// The line's own sum, over all but itself: a flipped byte is found in the last line too.
std::string sum_of(json line) {
    line.erase("sha256");
    return sha256(line.dump());
}

std::string text_of(const json& line, const char* key) {
    const auto value = line.find(key);
    return value != line.end() && value->is_string() ? value->get<std::string>() : "";
}

struct Record {
    std::string text;
    std::vector<json> lines;
    std::string last_sum;  // of the last line's text; of nothing when there is none
};

Record read_record(const Manifest& corpus, const std::string& digest) {
    const fs::path name = corpus.directory / kFile;
    Record record{.text = monitoring::read_text_if_exists(name).value_or(""), .lines = {}, .last_sum = sha256("")};
    std::istringstream text(record.text);
    for (std::string line; std::getline(text, line);) {
        const json entry = json::parse(line, nullptr, /*allow_exceptions=*/false);
        const bool whole = entry.is_object() && text_of(entry, "sha256") == sum_of(entry) && entry.dump() == line &&
                           text_of(entry, "previous") == record.last_sum;
        if (!whole || text_of(entry, "manifest") != digest) {
            throw DataError("'{}' line {} was changed, or is not of this corpus: expected a line of the manifest {}",
                            name.string(), record.lines.size() + 1, digest);
        }
        record.last_sum = sha256(line);
        record.lines.push_back(entry);
    }
    return record;
}

// Of those who add to the record of a corpus, one at a time: of an array of runs that go on with it, each has another
// parent. A lock on the manifest, which ends with whoever has it; none where the file system has no locks.
class Turn {
  public:
    explicit Turn(const Manifest& corpus) : file_(opened(corpus.directory / "manifest.json")) {
        while (::flock(file_.descriptor(), LOCK_EX) != 0 && errno == EINTR) {
        }
    }

  private:
    // NFS locks what may be written, and a corpus may be another user's.
    static monitoring::File opened(const fs::path& name) {
        try {
            return monitoring::File::open_write(name);
        } catch (const IoError&) {
            return monitoring::File::open_read(name);
        }
    }

    monitoring::File file_;
};

Ancestor ancestor_of(const json& line) {
    return {.child = text_of(line, "manifest"),
            .digest = text_of(line, "parent"),
            .directory = text_of(line, "directory"),
            .appended = text_of(line, "relation") == "appended"};
}

void add_ancestors(const Manifest& corpus, const std::string& digest, std::set<std::string>& known,
                   std::vector<Ancestor>& ancestors) {
    std::vector<Manifest> present;
    for (const json& line : read_record(corpus, digest).lines) {
        Ancestor& parent = ancestors.emplace_back(ancestor_of(line));
        const fs::path file = corpus.directory / parent.directory / "manifest.json";
        if (!monitoring::anything_at(file)) continue;
        Manifest manifest = Manifest::load(file);
        if (const std::string found = manifest.digest(); found != parent.digest) {
            throw DataError(
                "the parent corpus '{}' of '{}' was changed: expected the manifest with digest {}, found {}",
                file.parent_path().lexically_normal().string(), corpus.directory.string(), parent.digest, found);
        }
        if (begins_with_sources_of(corpus, manifest) != parent.appended) {
            throw DataError("'{}' says that it was {} its parent {}; its sources say otherwise",
                            corpus.directory.string(), parent.appended ? "appended to" : "prepared again from",
                            parent.digest);
        }
        parent.present = true;
        if (known.insert(parent.digest).second) present.push_back(std::move(manifest));
    }
    for (const Manifest& manifest : present) add_ancestors(manifest, manifest.digest(), known, ancestors);
}

}  // namespace

void record_parent(const Manifest& corpus, const Manifest& parent) {
    const std::string digest = corpus.digest();
    const std::string parent_digest = parent.digest();
    if (digest == parent_digest) return;
    const Turn turn(corpus);
    const Record record = read_record(corpus, digest);
    for (const json& line : record.lines) {
        if (text_of(line, "parent") == parent_digest) return;
    }
    json line = {
        {"manifest", digest},
        {"parent", parent_digest},
        {"directory", fs::absolute(parent.directory).lexically_proximate(fs::absolute(corpus.directory)).string()},
        {"relation", begins_with_sources_of(corpus, parent) ? "appended" : "prepared again"},
        {"previous", record.last_sum}};
    line["sha256"] = sum_of(line);
    monitoring::publish(corpus.directory / kFile, record.text + line.dump() + "\n");
}

std::vector<Ancestor> check_lineage(const Manifest& corpus) {
    std::vector<Ancestor> ancestors;
    const std::string digest = corpus.digest();
    std::set<std::string> known = {digest};
    add_ancestors(corpus, digest, known, ancestors);
    return ancestors;
}

}  // namespace kiban::data
