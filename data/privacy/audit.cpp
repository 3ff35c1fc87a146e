// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/audit.h"

#include <algorithm>

#include "data/digest.h"
#include "data/document_id.h"
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
        check_digest(manifest.directory / "tokenizer.json", manifest.tokenizer_sha256);
    for (const ManifestShard& shard : manifest.shards) check_digest(manifest.directory / shard.file, shard.sha256);
}

// The documents of one split of a source, put together over the borders of shards.
class Rescan {
  public:
    Rescan(const Manifest& manifest, const ManifestSource& source, const Tokenizer& tokenizer, AuditReport& report)
        : manifest_(manifest), source_(source), tokenizer_(tokenizer), report_(report) {}

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
        }
    }

    void end_document() {
        if (ids_.empty()) return;
        const std::string text = tokenizer_.decode(ids_);
        ids_.clear();
        ++report_.documents;
        report_.text_bytes += text.size();
        for (const Finding& finding : find_personal(text)) {
            if (manifest_.anonymised.contains(std::string(name_of(finding.kind)))) {
                const std::array<DocumentId, 1> id = {document_id_of(text)};
                report_.residuals.push_back({to_hex(id), source_.name, finding.kind});
            } else {
                ++report_.kept[source_.name][std::string(name_of(finding.kind))];
            }
        }
    }

    const Manifest& manifest_;
    const ManifestSource& source_;
    const Tokenizer& tokenizer_;
    AuditReport& report_;
    std::vector<std::int64_t> ids_;
};

}  // namespace

AuditReport audit_corpus(const Manifest& manifest) {
    check_files(manifest);
    AuditReport report;
    report.shards = manifest.shards.size();
    if (manifest.has_audit()) {
        const std::filesystem::path file = manifest.directory / "audit.jsonl";
        const auto text = monitoring::read_text_if_exists(file);
        if (!text) throw DataError("the audit log '{}' is gone", file.string());
        report.log_lines = verified_audit_log(*text, manifest.audit, file.string()).size();
    }
    const Tokenizer tokenizer = manifest.load_tokenizer();
    for (const ManifestSource& source : manifest.sources) {
        Rescan rescan(manifest, source, tokenizer, report);
        Stream both = source.train;  // the tail may begin inside a document
        both.segments.insert(both.segments.end(), source.holdout.segments.begin(), source.holdout.segments.end());
        rescan.read(both);
    }
    return report;
}

}  // namespace kiban::data
