// SPDX-License-Identifier: Apache-2.0
#include "data/trace.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <sstream>

#include "data/units.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

std::vector<std::vector<std::string>> read_inputs(const Manifest& manifest) {
    std::vector<std::vector<std::string>> files(manifest.sources.size());
    const std::filesystem::path name = manifest.directory / "inputs.jsonl";
    std::istringstream text(monitoring::read_text(name));
    for (std::string line; std::getline(text, line);) {
        const auto input = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
        const std::uint64_t source =
            input.is_object() ? input.value("source", std::uint64_t{files.size()}) : files.size();
        if (source >= files.size())
            throw DataError("cannot read '{}': expected the files of {} sources, found '{}'", name.string(),
                            files.size(), line);
        files[source].push_back(decode_name(input.value("file", "")));
    }
    return files;
}

DocumentId identity_of(std::string_view text) {
    const bool hex = text.size() == 2 * sizeof(DocumentId) && text.find_first_not_of("0123456789abcdef") == text.npos;
    if (!hex)
        throw DataError("'{}' names no document: expected 32 hex digits, as kiban trace --step prints them", text);
    return ids_from_hex(text).at(0);
}

}  // namespace

CorpusTrace::CorpusTrace(const Corpus& corpus) : corpus_(corpus), files_(read_inputs(corpus.manifest())) {}

const ShardDocuments& CorpusTrace::documents_of(std::uint32_t shard) {
    const auto there = documents_.find(shard);
    if (there != documents_.end()) return there->second;
    const Manifest& manifest = corpus_.manifest();
    return documents_.emplace(shard, Shard(manifest.directory / manifest.shards.at(shard).file).documents())
        .first->second;
}

TracedPart CorpusTrace::part_of(std::uint32_t source, std::uint32_t shard, std::size_t entry) {
    const ShardDocuments& documents = documents_of(shard);
    const std::uint32_t file = documents.files[entry];
    const std::vector<std::string>& names = files_.at(source);
    if (file >= names.size())
        throw DataError("shard {} names file {} of source {}, which has {}", shard, file, source, names.size());
    return {to_hex(std::span(&documents.ids[entry], 1)),
            names[file],
            documents.records[entry],
            corpus_.manifest().shards[shard].file,
            documents.offsets[entry],
            documents.offsets[entry + 1] - documents.offsets[entry]};
}

TracedRow CorpusTrace::row_at(std::uint64_t position) {
    TracedRow traced{position, corpus_.order().at(position), {}};
    for (const TokenRange& tokens : corpus_.tokens_of(traced.row.source, traced.row.row))
        add_parts(traced.row.source, tokens, traced.parts);
    return traced;
}

void CorpusTrace::add_parts(std::uint32_t source, const TokenRange& tokens, std::vector<TracedPart>& parts) {
    std::uint64_t at = 0;  // of the segment in the stream
    for (const Segment& segment : corpus_.manifest().sources[source].train.segments) {
        const std::uint64_t from = segment.begin + std::max(tokens.begin, at) - at;
        const std::uint64_t next = at + segment.end - segment.begin;
        const std::uint64_t to = segment.begin + std::min(tokens.end, next) - std::min(at, tokens.end);
        at = next;
        if (from >= segment.end || from >= to) continue;
        const std::vector<std::uint64_t>& offsets = documents_of(segment.shard).offsets;
        auto entry = static_cast<std::size_t>(std::ranges::upper_bound(offsets, from) - offsets.begin() - 1);
        for (; entry + 1 < offsets.size() && offsets[entry] < to; ++entry) {
            TracedPart part = part_of(source, segment.shard, entry);
            const std::uint64_t last = std::min(offsets[entry + 1], to);
            part.first = std::max(offsets[entry], from);
            part.tokens = last - part.first;
            parts.push_back(std::move(part));
        }
    }
}

std::vector<TracedDocument> CorpusTrace::find(std::string_view document) {
    const DocumentId id = identity_of(document);
    std::vector<TracedDocument> found;
    for (std::uint32_t source = 0; source < corpus_.manifest().sources.size(); ++source) {
        find_in(source, false, id, found);
        find_in(source, true, id, found);
    }
    return found;
}

void CorpusTrace::find_in(std::uint32_t source, bool held_out, const DocumentId& id,
                          std::vector<TracedDocument>& found) {
    const ManifestSource& named = corpus_.manifest().sources[source];
    std::uint64_t at = 0;
    for (const Segment& segment : (held_out ? named.holdout : named.train).segments) {
        const ShardDocuments& documents = documents_of(segment.shard);
        for (std::size_t entry = 0; entry < documents.size(); ++entry) {
            const std::uint64_t from = std::max(documents.offsets[entry], segment.begin);
            const std::uint64_t to = std::min(documents.offsets[entry + 1], segment.end);
            if (documents.ids[entry] != id || from >= to) continue;
            const std::uint64_t begin = at + from - segment.begin;
            // One that runs over the border of two shards has an entry in both.
            const bool goes_on = !found.empty() && entry == 0 && documents.first_continues &&
                                 found.back().source == source && found.back().held_out == held_out &&
                                 found.back().end == begin;
            if (!goes_on) found.push_back({source, held_out, begin, 0, part_of(source, segment.shard, entry)});
            found.back().end = begin + to - from;
        }
        at += segment.end - segment.begin;
    }
}

std::vector<std::uint64_t> CorpusTrace::positions_of(const TracedDocument& document, std::uint64_t end) const {
    std::vector<std::uint64_t> positions;
    if (document.held_out) return positions;
    const std::vector<std::uint64_t> rows = corpus_.rows_with(document.source, {document.begin, document.end});
    for (std::uint64_t epoch = 0;; ++epoch) {
        const std::size_t before = positions.size();
        // Rows of an epoch stand before those of the next one.
        for (const std::uint64_t row : rows) {
            const std::uint64_t position = corpus_.order().position_of({document.source, epoch, row});
            if (position < end) positions.push_back(position);
        }
        if (positions.size() == before) break;
    }
    std::ranges::sort(positions);
    return positions;
}

}  // namespace kiban::data
