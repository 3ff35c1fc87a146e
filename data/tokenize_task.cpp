// SPDX-License-Identifier: Apache-2.0
#include <map>
#include <string>

#include "data/bpe/unicode.h"
#include "data/clean/cleaner.h"
#include "data/clean/ngram_set.h"
#include "data/documents.h"
#include "data/near_duplicates.h"
#include "data/staging.h"
#include "data/tasks.h"
#include "data/token_ids.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::data {
namespace {

using nlohmann::json;

constexpr std::uint64_t kToldLines = 5;  // of a unit and reason

class UnitSink : public DocumentSink {
  public:
    UnitSink(StagedUnitWriter& writer, const Tokenizer& tokenizer, std::uint64_t held_out_below)
        : writer_(writer),
          encoder_(tokenizer),
          end_of_document_(tokenizer.end_of_document()),
          held_out_below_(held_out_below) {}

    void begin(const Piece& piece, std::uint64_t offset) override {
        document_ = {};
        document_.file = piece.file;
        document_.offset = offset;
        document_.part = piece.part_of_document() ? 1 : 0;
        document_.continued = document_.part != 0 && piece.begin > 0 ? 1 : 0;
    }

    void add(std::span<const std::byte> text) override {
        hash_.update(text);
        encoder_.add(text, append_);
    }

    void end(bool complete) override {
        encoder_.end(append_);
        std::vector<DocumentId> leaves = hash_.take_leaves();
        if (document_.tokens == 0) return;  // an empty file or field is no document
        if (complete) {
            append(std::span(&end_of_document_, 1));
            ++documents_;
        }
        if (document_.part != 0) {
            leaves_ = std::move(leaves);
        } else {
            document_.id = document_id(leaves);
            document_.held_out = holdout_draw(document_.id) < held_out_below_ ? 1 : 0;
        }
        (document_.held_out != 0 ? holdout_tokens_ : train_tokens_) += document_.tokens;
        writer_.add(document_);
    }

    void reject(const Piece& piece, std::uint64_t offset, std::string_view reason) override {
        std::uint64_t& lines = rejected_[std::string(reason)];
        if (++lines > kToldLines) return;
        monitoring::log_warning("the line at byte {} of '{}' is left out, since it is no document: {}{}", offset,
                                piece.path.string(), reason,
                                lines == kToldLines ? "; more of this kind are only counted" : "");
    }

    std::uint64_t documents() const { return documents_; }

    json result(std::uint64_t unit) const {
        json result{{"unit", unit},
                    {"documents", documents_},
                    {"train", train_tokens_},
                    {"holdout", holdout_tokens_},
                    {"leaves", to_hex(leaves_)},
                    {"special_texts", encoder_.special_texts()}};
        if (!rejected_.empty()) result["rejected"] = rejected_;
        return result;
    }

  private:
    void append(std::span<const std::uint32_t> ids) {
        writer_.add(ids);
        document_.tokens += ids.size();
    }

    StagedUnitWriter& writer_;
    DocumentEncoder encoder_;
    std::uint32_t end_of_document_;
    std::uint64_t held_out_below_;
    DocumentEncoder::Give append_ = [this](std::span<const std::uint32_t> ids) { append(ids); };
    DocumentHash hash_;
    StagedDocument document_;
    std::vector<DocumentId> leaves_;  // of the one document of which this unit is a part
    std::uint64_t documents_ = 0;
    std::map<std::string, std::uint64_t> rejected_;  // lines by reason
    std::uint64_t train_tokens_ = 0;
    std::uint64_t holdout_tokens_ = 0;
};

json tokenize(const json& task, const std::filesystem::path& corpus) {
    const auto unit = task.at("unit").get<std::uint64_t>();
    const std::filesystem::path name = staged_unit_file(corpus, unit);
    if (const auto staged = StagedUnit::open(name)) return staged->result();
    monitoring::make_directories(staging_directory(corpus));
    const Tokenizer tokenizer = tokenizer_from_json(task.at("tokenizer"), corpus);
    StagedUnitWriter writer(staging_directory(corpus), id_bytes(tokenizer.vocabulary()));
    UnitSink sink(writer, tokenizer, task.at("held_out_below").get<std::uint64_t>());
    const json& clean = task.at("clean");
    const bool near = !clean.empty() && clean.at("deduplicate") == "near";
    BandKeySink keyed(sink, [&sink] { return sink.documents(); });
    DocumentSink& last = near ? static_cast<DocumentSink&>(keyed) : sink;
    const CleanCounts cleaned = with_cleaning(task, evaluation_of(task), last, [&](DocumentSink& first) {
        for (const json& piece : task.at("pieces")) read_documents(piece_from_json(piece), first);
    });
    json result = sink.result(unit);
    if (!clean.empty()) result["cleaned"] = to_json(cleaned);
    if (near) keyed.publish(corpus, unit);
    writer.publish(name, result);
    return result;
}

}  // namespace

std::filesystem::path published_manifest(const std::filesystem::path& corpus) { return corpus / "manifest.json"; }

std::filesystem::path staging_directory(const std::filesystem::path& corpus) { return corpus / "staging"; }

std::filesystem::path tokenizer_file(const std::filesystem::path& corpus, const std::string& name) {
    return corpus / Tokenizer::kept_as(name);
}

std::filesystem::path staged_unit_file(const std::filesystem::path& corpus, std::uint64_t unit) {
    return staging_directory(corpus) / fmt::format("unit-{:06}.tokens", unit);
}

json to_json(const Tokenizer& tokenizer) {
    return {{"name", tokenizer.name()},
            {"sha256", tokenizer.sha256()},
            {"unicode", tokenizer.bpe() ? unicode_version() : ""}};
}

Tokenizer tokenizer_from_json(const json& planned, const std::filesystem::path& corpus) {
    const auto name = planned.at("name").get<std::string>();
    if (name == "bytes") return Tokenizer(name);
    if (name != Tokenizer::kept_as(".model")) check_unicode(planned.at("unicode").get<std::string>());
    Tokenizer tokenizer = Tokenizer::from_file(tokenizer_file(corpus, name), name);
    const auto sha256 = planned.at("sha256").get<std::string>();
    if (tokenizer.sha256() != sha256) {
        throw DataError(
            "cannot tokenize with '{}': expected the file with digest {}, found {}; delete its directory and "
            "prepare the corpus again",
            tokenizer_file(corpus, name).string(), sha256, tokenizer.sha256());
    }
    return tokenizer;
}

void check_unicode(const std::string& planned) {
    if (planned == unicode_version()) return;
    throw DataError(
        "cannot cut text as planned: the coordinator's PCRE2 knows Unicode {}, this worker's {}; use the same "
        "version of libpcre2 on all machines",
        planned, unicode_version());
}

std::shared_ptr<const NgramSet> evaluation_of(const json& task) {
    if (task.at("clean").empty()) return nullptr;
    if (clean_config_from_json(task.at("clean")).contamination.files.empty()) return nullptr;
    const std::filesystem::path corpus = decode_name(task.at("directory").get<std::string>());
    return std::make_shared<const NgramSet>(NgramSet::load(evaluation_file(corpus)));
}

CleanCounts with_cleaning(const json& task, const std::shared_ptr<const NgramSet>& evaluation, DocumentSink& sink,
                          const std::function<void(DocumentSink&)>& work) {
    if (task.at("clean").empty()) {
        work(sink);
        return {};
    }
    Cleaner cleaner(clean_config_from_json(task.at("clean")), evaluation, sink);
    work(cleaner);
    return cleaner.counts();
}

json run_tokenize(const json& task) {
    const std::filesystem::path corpus = decode_name(task.at("directory").get<std::string>());
    try {
        return tokenize(task, corpus);
    } catch (const IoError&) {
        // Another process may have finished the corpus and removed the staging directory under our feet.
        if (!monitoring::anything_at(published_manifest(corpus))) throw;
        return {{"unit", task.at("unit")}, {"superseded", true}};
    }
}

}  // namespace kiban::data
