// SPDX-License-Identifier: Apache-2.0
// The manifest of a prepared corpus: which shards hold which tokens of which source (format: data/FORMAT.md).
//
// Canonical JSON (sorted keys); its SHA-256 names the corpus. Holds no time, host or worker count: the same input and
// configuration give the same bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/clean/counts.h"
#include "data/clean/ngram_set.h"
#include "data/privacy/audit_head.h"

namespace kiban::data {

class Tokenizer;

struct Segment {  // tokens [begin, end) of one shard
    std::uint32_t shard = 0;
    std::uint64_t begin = 0;
    std::uint64_t end = 0;
};

struct TokenRange {  // tokens [begin, end) of a stream
    std::uint64_t begin = 0;
    std::uint64_t end = 0;

    bool operator==(const TokenRange&) const = default;
};

struct Stream {  // one split of one source as a contiguous token sequence
    std::vector<Segment> segments;
    std::uint64_t tokens = 0;
};

struct SourceAccount {  // as the run file states it, empty where it does not
    std::string licence;
    std::string legal_basis;
    std::string retain_until;
    std::string sensitivity;

    bool operator==(const SourceAccount&) const = default;
};

struct ManifestSource {
    std::string name;  // that of the run file, or its path
    std::string id;    // SHA-256 of its tokens' block checksums; keys the order, independent of other sources
    std::uint64_t documents = 0;
    std::uint64_t input_bytes = 0;
    Stream train;
    Stream holdout;
    SourceAccount account;
    CleanCounts cleaned;                                 // zero when documents are taken as they are
    std::map<std::string, std::uint64_t> rejected = {};  // lines of JSONL that are no documents, by reason
    std::uint64_t special_texts = 0;                     // in documents: what looks like a special token and is none
};

struct ManifestShard {
    std::string file;  // relative to the manifest
    std::uint64_t tokens = 0;
    std::uint64_t bytes = 0;
    std::string sha256;
};

struct ManifestEvaluation {   // what the documents were compared with
    std::uint64_t words = 0;  // of a run; 0: with nothing
    std::string action;
    std::vector<EvaluationFile> files;

    bool operator==(const ManifestEvaluation&) const = default;
};

struct Manifest {
    std::string tokenizer;
    std::string tokenizer_sha256;  // of the file beside it; empty for `bytes`
    std::string unicode;           // version of the tables that cut the text; empty for `bytes` and SentencePiece
    std::uint32_t vocabulary = 0;
    std::vector<ManifestSource> sources;  // in the order of the run file
    std::vector<ManifestShard> shards;
    std::map<std::string, std::string> anonymised;  // by kind of personal data, the operator; what is kept is not here
    std::string anonymise_rules;                    // version of detectors and operators
    std::string key_id;                             // of the key of pseudonyms and encryption
    std::string names_id;                           // of the list of names
    std::string approved_by;                        // who allowed encryption
    AuditHead audit;                                // of audit.jsonl beside it, where anything is anonymised
    ManifestEvaluation evaluation;
    std::string inputs_sha256;  // of inputs.jsonl beside it: the names of the files that the shards' doc_file counts
    std::filesystem::path directory;  // where it was loaded from; not part of the file

    bool has_audit() const { return !anonymised.empty(); }

    /// SHA-256 (hex) of the canonical bytes.
    std::string digest() const;
    std::string to_json() const;

    /// What its shards were made with. DataError when the file beside it is not the manifest's.
    Tokenizer load_tokenizer() const;

    /// Reads and checks a manifest and that every shard file is there with its size. DataError names what is wrong.
    static Manifest load(const std::filesystem::path& manifest_file);
};

}  // namespace kiban::data
