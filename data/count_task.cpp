// SPDX-License-Identifier: Apache-2.0
// Before a tokenizer can be trained on the corpus: which words it has, without what is held out.
#include <algorithm>
#include <array>

#include "data/bpe/segments.h"
#include "data/bpe/splitter.h"
#include "data/bpe/train.h"
#include "data/bpe/unicode.h"
#include "data/bpe/words.h"
#include "data/digest.h"
#include "data/document_id.h"
#include "data/documents.h"
#include "data/staging.h"
#include "data/tasks.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using nlohmann::json;

__extension__ using Wide = unsigned __int128;

// What must be known of a piece before its words are counted: its length, and which of its documents are held out.
class Survey : public DocumentSink {
  public:
    explicit Survey(std::uint64_t held_out_below) : held_out_below_(held_out_below) {}

    void begin(const Piece&, std::uint64_t) override {}

    void add(std::span<const std::byte> text) override {
        text_bytes_ += text.size();
        hash_.update(text);
    }

    void end(bool) override {
        leaves_ = hash_.take_leaves();
        held_out_.push_back(holdout_draw(document_id(leaves_)) < held_out_below_);
    }

    std::uint64_t text_bytes() const { return text_bytes_; }
    bool held_out(std::size_t document) const { return held_out_.at(document); }
    const std::vector<DocumentId>& last_leaves() const { return leaves_; }

  private:
    std::uint64_t held_out_below_;
    DocumentHash hash_;
    std::uint64_t text_bytes_ = 0;
    std::vector<bool> held_out_;
    std::vector<DocumentId> leaves_;
};

class CountSink : public DocumentSink {
  public:
    CountSink(UnitWords& words, Splitter& splitter) : words_(words), splitter_(splitter) {}

    /// Before each piece: its survey (null: nothing is held out), and how many bytes of its text to count.
    void start(const Survey* survey, std::uint64_t most_bytes) {
        survey_ = survey;
        left_ = most_bytes;
        document_ = 0;
    }

    void begin(const Piece& piece, std::uint64_t) override {
        // A range of a text that was cut has no identity of its own: whether it is held out, all its ranges together
        // say.
        skip_ = survey_ != nullptr && !piece.part_of_document() && survey_->held_out(document_);
        ++document_;
    }

    void add(std::span<const std::byte> text) override {
        const auto part = text.first(static_cast<std::size_t>(std::min<std::uint64_t>(text.size(), left_)));
        left_ -= part.size();
        if (!skip_) segments_.add(part, take_);
    }

    void end(bool) override { segments_.end(take_); }

  private:
    void count(std::string_view text, std::size_t stop) {
        std::array<std::uint32_t, 512> ends;
        splitter_.begin(text);
        std::size_t begin = 0;
        while (begin < stop) {
            const std::size_t pieces = splitter_.next(ends);
            for (std::size_t i = 0; i < pieces && begin < stop; ++i) {
                const std::size_t end = std::min<std::size_t>(ends[i], stop);
                words_.add(text.substr(begin, end - begin));
                begin = end;
            }
        }
    }

    UnitWords& words_;
    Splitter& splitter_;
    Segmenter segments_;
    Segmenter::Take take_ = [this](std::string_view text, std::size_t stop) { count(text, stop); };
    const Survey* survey_ = nullptr;
    std::uint64_t left_ = 0;
    std::size_t document_ = 0;
    bool skip_ = false;
};

// The same share of the text as of the bytes on disk, which may be compressed or hold other fields.
std::uint64_t share_of(std::uint64_t text_bytes, std::uint64_t counted, std::uint64_t all) {
    return static_cast<std::uint64_t>(static_cast<Wide>(text_bytes) * counted / all);
}

json count(const json& task, const std::filesystem::path& corpus) {
    const std::filesystem::path name = word_counts_file(corpus, task.at("unit").get<std::uint64_t>());
    if (const auto result = word_counts_result(name)) return *result;
    check_unicode(task.at("unicode").get<std::string>());
    monitoring::make_directories(staging_directory(corpus));
    const auto held_out_below = task.at("held_out_below").get<std::uint64_t>();
    UnitWords words(staging_directory(corpus));
    const auto splitter = SplitterFactory({kLlama3Pattern}).make();
    CountSink sink(words, *splitter);
    const auto evaluation = evaluation_of(task);
    json result{{"unit", task.at("unit")}, {"leaves", ""}};
    for (std::size_t i = 0; i < task.at("pieces").size(); ++i) {
        const Piece piece = piece_from_json(task.at("pieces").at(i));
        const auto counted = task.at("counted").at(i).get<std::uint64_t>();
        const std::uint64_t all = piece.end - piece.begin;
        if (counted == 0) continue;
        if (counted == all && held_out_below == 0) {
            sink.start(nullptr, ~std::uint64_t{0});
            with_cleaning(task, evaluation, sink, [&](DocumentSink& first) { read_documents(piece, first); });
            continue;
        }
        Survey survey(held_out_below);
        with_cleaning(task, evaluation, survey, [&](DocumentSink& first) { read_documents(piece, first); });
        sink.start(&survey, share_of(survey.text_bytes(), counted, all));
        with_cleaning(task, evaluation, sink, [&](DocumentSink& first) { read_documents(piece, first); });
        if (piece.part_of_document()) result["leaves"] = to_hex(survey.last_leaves());
    }
    words.publish(name, result);
    return result;
}

json result_of(const std::string& tokenizer_json, const MergedWords& merged) {
    return {{"tokenizer", sha256(tokenizer_json)},
            {"words", merged.words.size()},
            {"least_count", merged.least_count},
            {"left_out", merged.left_out},
            {"left_out_bytes", merged.left_out_bytes}};
}

json train(const json& task, const std::filesystem::path& corpus) {
    const auto name = task.at("tokenizer").get<std::string>();
    const std::filesystem::path file = tokenizer_file(corpus, name);
    if (const auto there = monitoring::read_text_if_exists(file)) return result_of(*there, {});
    std::vector<std::filesystem::path> files;
    for (const json& unit : task.at("units")) files.push_back(word_counts_file(corpus, unit.get<std::uint64_t>()));
    const MergedWords merged = merge_word_counts(std::move(files), staging_directory(corpus), kTrainingBytes);
    const std::string text = to_tokenizer_json(
        train_bpe(merged.words, Tokenizer::trained_vocabulary(name).value(), kLlama3Pattern, Tokenizer::kTrainedEnd));
    publish_through(staging_directory(corpus), file, text, "data.tokenizer");
    return result_of(text, merged);
}

/// Another process may have finished the corpus and removed the staging directory under our feet.
template <typename Work>
json unless_superseded(const json& task, const Work& work) {
    const std::filesystem::path corpus = decode_name(task.at("directory").get<std::string>());
    try {
        return work(task, corpus);
    } catch (const IoError&) {
        if (!monitoring::anything_at(published_manifest(corpus))) throw;
        return {{"superseded", true}};
    }
}

}  // namespace

std::filesystem::path word_counts_file(const std::filesystem::path& corpus, std::uint64_t unit) {
    return staging_directory(corpus) / fmt::format("unit-{:06}.words", unit);
}

json run_count(const json& task) { return unless_superseded(task, count); }

json run_train(const json& task) { return unless_superseded(task, train); }

}  // namespace kiban::data
