// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/audit.h"

#include <algorithm>

#include "data/digest.h"
#include "data/document_id.h"
#include "data/documents.h"
#include "data/privacy/audit_log.h"
#include "data/privacy/detect.h"
#include "data/shard.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

void check_digest(const std::filesystem::path& file, const std::string& expected) {
    if (const std::string found = sha256_of_file(file); found != expected)
        throw DataError("'{}' was changed: expected digest {}, found {}", file.string(), expected, found);
}

void check_files(const Manifest& manifest) {
    check_digest(manifest.directory / "inputs.jsonl", manifest.inputs_sha256);
    if (!manifest.tokenizer_sha256.empty())
        check_digest(manifest.directory / Tokenizer::kept_as(manifest.tokenizer), manifest.tokenizer_sha256);
    for (const ManifestShard& shard : manifest.shards) check_digest(manifest.directory / shard.file, shard.sha256);
}

// Documents that were anonymised have at most kRecordBytes before and little more behind that; of a longer one parts
// are looked at.
constexpr std::size_t kMostBytes = 2 * kRecordBytes;

KindSet taken_out_of(const Manifest& manifest) {
    KindSet kinds;
    for (std::size_t kind = 0; kind < kKinds; ++kind)
        kinds.set(kind, manifest.anonymised.contains(std::string(kKindNames[kind])));
    return kinds;
}

void check_names(const Manifest& manifest, const NameList* names) {
    if (manifest.names_id.empty()) return;
    if (names == nullptr) {
        throw DataError("cannot look for names that are left: expected the list '{}' that they were taken out by",
                        manifest.names_id);
    }
    if (names->id() != manifest.names_id) {
        throw DataError("cannot look for names that are left: expected the list '{}', found '{}'", manifest.names_id,
                        names->id());
    }
}

// The documents of one split of a source, put together over the borders of shards.
class Rescan {
  public:
    Rescan(const Manifest& manifest, const ManifestSource& source, const Tokenizer& tokenizer, const NameList* names,
           AuditReport& report)
        : manifest_(manifest),
          source_(source),
          tokenizer_(tokenizer),
          names_(names),
          report_(report),
          taken_out_(taken_out_of(manifest)) {}

    void read(const Stream& stream) {
        for (const Segment& segment : stream.segments) read(segment);
        end_document();
    }

  private:
    void read(const Segment& segment) {
        const Shard shard(manifest_.directory / manifest_.shards[segment.shard].file);
        constexpr std::uint64_t kTokens = 1u << 20;
        for (std::uint64_t begin = segment.begin; begin < segment.end; begin += kTokens) {
            for (const std::int64_t id : shard.read(begin, std::min(kTokens, segment.end - begin))) {
                ids_.push_back(id);
                if (id == std::int64_t{tokenizer_.end_of_document()}) end_document();
            }
            // Pieces of SentencePiece are decoded together.
            if (!tokenizer_.sentence_piece()) decode();
            if (text_.size() + ids_.size() * sizeof(ids_[0]) >= kMostBytes) look();
        }
    }

    void decode() {
        text_ += tokenizer_.decode(ids_);
        ids_.clear();
    }

    void look() {
        decode();
        report_.text_bytes += text_.size();
        for (const Finding& finding : find_personal(text_, taken_out_, names_)) {
            const std::array<DocumentId, 1> id = {document_id_of(text_)};
            report_.residuals.push_back({to_hex(id), source_.name, finding.kind});
        }
        // By itself, so that what is kept hides nothing that had to go.
        if (!taken_out_.all()) {
            for (const Finding& finding : find_personal(text_, ~taken_out_, names_))
                ++report_.kept[source_.name][std::string(name_of(finding.kind))];
        }
        text_.clear();
        looked_at_ = true;
    }

    void end_document() {
        if (ids_.empty() && text_.empty() && !looked_at_) return;
        look();
        looked_at_ = false;
        ++report_.documents;
    }

    const Manifest& manifest_;
    const ManifestSource& source_;
    const Tokenizer& tokenizer_;
    const NameList* names_;
    AuditReport& report_;
    KindSet taken_out_;
    std::vector<std::int64_t> ids_;  // behind text_
    std::string text_;               // of the document at hand, what was not looked at
    bool looked_at_ = false;         // a part of it
};

}  // namespace

AuditReport audit_corpus(const Manifest& manifest, const NameList* names) {
    check_names(manifest, names);
    check_files(manifest);
    AuditReport report;
    report.shards = manifest.shards.size();
    if (manifest.has_audit()) {
        const std::filesystem::path file = manifest.directory / "audit.jsonl";
        const auto text = monitoring::read_text_if_exists(file);
        if (!text) throw DataError("the audit log '{}' is gone", file.string());
        report.log_lines = verified_audit_log(*text, manifest.audit, file.string()).size();
    }
    if (!manifest.has_audit()) return report;
    const Tokenizer tokenizer = manifest.load_tokenizer();
    for (const ManifestSource& source : manifest.sources) {
        Rescan rescan(manifest, source, tokenizer, names, report);
        Stream both = source.train;  // the tail may begin inside a document
        both.segments.insert(both.segments.end(), source.holdout.segments.begin(), source.holdout.segments.end());
        rescan.read(both);
    }
    return report;
}

}  // namespace kiban::data
