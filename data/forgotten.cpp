// SPDX-License-Identifier: Apache-2.0
#include "data/forgotten.h"

#include <algorithm>
#include <sstream>

#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {

std::set<DocumentId> read_forgotten(const std::filesystem::path& file) {
    const auto content = monitoring::read_text_if_exists(file);
    if (!content) throw ConfigError("cannot find '{}', the list of documents to forget (data.forget)", file.string());
    std::set<DocumentId> documents;
    std::istringstream text(*content);
    std::size_t number = 0;
    for (std::string line; std::getline(text, line);) {
        ++number;
        line.resize(std::min(line.find('#'), line.size()));
        line.erase(std::remove_if(line.begin(), line.end(),
                                  [](char letter) { return letter == ' ' || letter == '\t' || letter == '\r'; }),
                   line.end());
        if (line.empty()) continue;
        if (line.size() != 2 * sizeof(DocumentId) || line.find_first_not_of("0123456789abcdef") != std::string::npos) {
            throw DataError("cannot read '{}' line {}: expected a document's identity, 32 hex digits, found '{}'",
                            file.string(), number, line);
        }
        documents.insert(ids_from_hex(line).at(0));
    }
    return documents;
}

std::set<DocumentId> missing_from(const Manifest& manifest, std::set<DocumentId> documents) {
    for (const ManifestShard& shard : manifest.shards) {
        if (documents.empty()) break;
        for (const DocumentId& id : Shard(manifest.directory / shard.file).documents().ids) documents.erase(id);
    }
    return documents;
}

std::vector<TokenRange> ranges_of(const std::set<DocumentId>& documents, const Stream& stream,
                                  const std::vector<Shard>& shards) {
    std::vector<TokenRange> ranges;
    if (documents.empty()) return ranges;
    std::uint64_t at = 0;
    for (const Segment& segment : stream.segments) {
        const ShardDocuments table = shards.at(segment.shard).documents();
        for (std::size_t entry = 0; entry < table.size(); ++entry) {
            const std::uint64_t from = std::max(table.offsets[entry], segment.begin);
            const std::uint64_t to = std::min(table.offsets[entry + 1], segment.end);
            if (from >= to || !documents.contains(table.ids[entry])) continue;
            const TokenRange range{at + from - segment.begin, at + to - segment.begin};
            if (!ranges.empty() && ranges.back().end == range.begin) {
                ranges.back().end = range.end;
            } else {
                ranges.push_back(range);
            }
        }
        at += segment.end - segment.begin;
    }
    return ranges;
}

}  // namespace kiban::data
