// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "data/documents.h"
#include "data/staging.h"
#include "data/tasks.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

using nlohmann::json;

constexpr std::size_t kChunkBytes = 1u << 20;

class UnitSink : public DocumentSink {
  public:
    UnitSink(StagedUnitWriter& writer, const Tokenizer& tokenizer, std::uint64_t held_out_below)
        : writer_(writer), tokenizer_(tokenizer), held_out_below_(held_out_below) {}

    void begin(const Piece& piece, std::uint64_t offset) override {
        document_ = {};
        document_.file = piece.file;
        document_.offset = offset;
        document_.part = piece.part_of_document() ? 1 : 0;
        document_.continued = document_.part != 0 && piece.begin > 0 ? 1 : 0;
    }

    void add(std::span<const std::byte> text) override {
        hash_.update(text);
        while (!text.empty()) {
            const auto part = text.first(std::min(text.size(), kChunkBytes));
            append(tokenizer_.encode(part, writer_.room(Tokenizer::max_ids(part.size()))));
            text = text.subspan(part.size());
        }
    }

    void end(bool complete) override {
        std::vector<DocumentId> leaves = hash_.take_leaves();
        if (document_.tokens == 0) return;  // an empty file or field is no document
        if (complete) {
            writer_.room(1)[0] = tokenizer_.end_of_document();
            append(1);
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

    json result(std::uint64_t unit) const {
        return {{"unit", unit},
                {"documents", documents_},
                {"train", train_tokens_},
                {"holdout", holdout_tokens_},
                {"leaves", to_hex(leaves_)}};
    }

  private:
    void append(std::size_t ids) {
        writer_.commit(ids);
        document_.tokens += ids;
    }

    StagedUnitWriter& writer_;
    const Tokenizer& tokenizer_;
    std::uint64_t held_out_below_;
    DocumentHash hash_;
    StagedDocument document_;
    std::vector<DocumentId> leaves_;  // of the one document of which this unit is a part
    std::uint64_t documents_ = 0;
    std::uint64_t train_tokens_ = 0;
    std::uint64_t holdout_tokens_ = 0;
};

json tokenize(const json& task, const std::filesystem::path& corpus) {
    const auto unit = task.at("unit").get<std::uint64_t>();
    const std::filesystem::path name = staged_unit_file(corpus, unit);
    if (const auto staged = StagedUnit::open(name)) return staged->result();
    monitoring::make_directories(staging_directory(corpus));
    const Tokenizer tokenizer(task.at("tokenizer").get<std::string>());
    StagedUnitWriter writer(staging_directory(corpus));
    UnitSink sink(writer, tokenizer, task.at("held_out_below").get<std::uint64_t>());
    for (const json& piece : task.at("pieces")) read_documents(piece_from_json(piece), sink);
    json result = sink.result(unit);
    writer.publish(name, result);
    return result;
}

}  // namespace

std::filesystem::path published_manifest(const std::filesystem::path& corpus) { return corpus / "manifest.json"; }

std::filesystem::path staging_directory(const std::filesystem::path& corpus) { return corpus / "staging"; }

std::filesystem::path staged_unit_file(const std::filesystem::path& corpus, std::uint64_t unit) {
    return staging_directory(corpus) / fmt::format("unit-{:06}.tokens", unit);
}

json run_tokenize(const json& task) {
    const std::filesystem::path corpus = decode_name(task.at("directory").get<std::string>());
    try {
        return tokenize(task, corpus);
    } catch (const IoError&) {
        // Another process may have finished the corpus and removed the staging directory under our feet.
        if (!std::filesystem::exists(published_manifest(corpus))) throw;
        return {{"unit", task.at("unit")}, {"superseded", true}};
    }
}

}  // namespace kiban::data
