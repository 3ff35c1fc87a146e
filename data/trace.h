// SPDX-License-Identifier: Apache-2.0
// From positions of the sample order to the documents that stand there, and back.
//
// What a row reads of its source's stream is said in data/FORMAT.md (T inputs, and the target of the last one; or whole
// documents). Everything comes from the manifest, the tables of documents in its shards and the order, which is
// invertible: nothing was recorded while training. Errors: those of Manifest, Shard and Corpus. Not thread-safe: tables
// are read when they are first needed.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "data/corpus.h"
#include "data/document_id.h"
#include "data/shard.h"

namespace kiban::data {

struct TracedPart {            // of a document
    std::string document;      // its identity, hex
    std::string file;          // in which it was read, as inputs.jsonl names it
    std::uint64_t record = 0;  // byte of its record in that file, uncompressed
    std::string shard;
    std::uint64_t first = 0;  // token of the shard
    std::uint64_t tokens = 0;
};

struct TracedRow {
    std::uint64_t position = 0;
    RowRef row;
    std::vector<TracedPart> parts;  // in the order of the row's tokens
};

struct TracedDocument {  // one of the places where its tokens stand; equal documents have several
    std::uint32_t source = 0;
    bool held_out = false;
    std::uint64_t begin = 0;  // tokens [begin, end) of the source's stream of that split
    std::uint64_t end = 0;
    TracedPart part;  // where it begins
};

class CorpusTrace {
  public:
    /// `corpus` must outlive it.
    explicit CorpusTrace(const Corpus& corpus);

    TracedRow row_at(std::uint64_t position);

    /// Every place, by source, what is trained on first. Empty when the corpus has no such document. DataError for an
    /// identity that is not 32 hex digits.
    std::vector<TracedDocument> find(std::string_view document);

    /// The positions below `end` whose rows hold tokens of it, ascending; none for what is held out.
    std::vector<std::uint64_t> positions_of(const TracedDocument& document, std::uint64_t end) const;

  private:
    const ShardDocuments& documents_of(std::uint32_t shard);
    void add_parts(std::uint32_t source, const TokenRange& tokens, std::vector<TracedPart>& parts);
    TracedPart part_of(std::uint32_t source, std::uint32_t shard, std::size_t entry);
    void find_in(std::uint32_t source, bool held_out, const DocumentId& id, std::vector<TracedDocument>& found);

    const Corpus& corpus_;
    std::map<std::uint32_t, ShardDocuments> documents_;  // by shard
    std::vector<std::vector<std::string>> files_;        // by source
};

}  // namespace kiban::data
