// SPDX-License-Identifier: Apache-2.0
// The runs of words of the evaluation files, before any document is read: in one task, since these are small.
#include <string>

#include "data/clean/cleaner.h"
#include "data/clean/ngram_set.h"
#include "data/documents.h"
#include "data/staging.h"
#include "data/tasks.h"
#include "data/units.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using nlohmann::json;

class EvaluationSink : public DocumentSink {
  public:
    EvaluationSink(NgramSet& set, std::size_t file) : set_(set), file_(file) {}

    void begin(const Piece&, std::uint64_t) override { text_.clear(); }
    void add(std::span<const std::byte> text) override {
        text_.append(reinterpret_cast<const char*>(text.data()), text.size());
    }
    void end(bool) override {
        if (!text_.empty()) set_.add_document(file_, text_);
    }

  private:
    NgramSet& set_;
    std::size_t file_;
    std::string text_;
};

// For a text to train on "drop" means that it goes; a text of an evaluation stays what texts are compared with.
AnonymiseConfig without_drops(AnonymiseConfig config) {
    for (std::string* op :
         {&config.all, &config.secret, &config.email, &config.iban, &config.card, &config.my_number,
          &config.corporate_number, &config.phone, &config.postal_code, &config.ip, &config.mac, &config.name}) {
        if (*op == name_of(Operator::drop)) *op = name_of(Operator::redact);
    }
    return config;
}

json result_of(const NgramSet& set) {
    json files = json::array();
    for (const EvaluationFile& file : set.files())
        files.push_back({file.name, file.documents, file.too_short, file.runs});
    return {{"evaluation", true}, {"files", std::move(files)}};
}

json read_evaluation(const json& task, const std::filesystem::path& corpus) {
    const std::filesystem::path name = evaluation_file(corpus);
    if (monitoring::anything_at(name)) return result_of(NgramSet::load(name));
    monitoring::make_directories(staging_directory(corpus));
    // As the documents to train on are cleaned, so that the same text is the same here; but none is left out.
    CleanConfig clean = clean_config_from_json(task.at("clean"));
    NgramSet set(clean.contamination.words);
    clean.contamination = {};
    clean.filter = {};
    clean.anonymise = without_drops(clean.anonymise);
    for (std::size_t i = 0; i < task.at("pieces").size(); ++i) {
        EvaluationSink sink(set, set.add_file(task.at("names").at(i).get<std::string>()));
        Cleaner cleaner(clean, nullptr, sink);
        read_documents(piece_from_json(task.at("pieces").at(i)), cleaner);
    }
    set.close();
    publish_through(staging_directory(corpus), name, set.to_bytes(), "data.evaluation");
    return result_of(set);
}

}  // namespace

std::filesystem::path evaluation_file(const std::filesystem::path& corpus) {
    return staging_directory(corpus) / "evaluation.runs";
}

json run_evaluation(const json& task) {
    const std::filesystem::path corpus = decode_name(task.at("directory").get<std::string>());
    try {
        return read_evaluation(task, corpus);
    } catch (const IoError&) {
        // Another process may have finished the corpus and removed the staging directory under our feet.
        if (!monitoring::anything_at(published_manifest(corpus))) throw;
        return {{"evaluation", true}, {"superseded", true}};
    }
}

}  // namespace kiban::data
