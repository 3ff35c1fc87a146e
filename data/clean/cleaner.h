// SPDX-License-Identifier: Apache-2.0
// Between a reader of documents and who takes them: documents pass as they are to become tokens, or not at all.
//
// Each is held as a whole; one of more than kRecordBytes throws DataError with its file. Not thread-safe.
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "data/clean/config.h"
#include "data/clean/counts.h"
#include "data/clean/ngram_set.h"
#include "data/documents.h"
#include "data/privacy/anonymiser.h"

namespace kiban::data {

class Cleaner : public DocumentSink {
  public:
    /// `evaluation`: what documents are not to share runs of words with; may be null.
    Cleaner(CleanConfig config, std::shared_ptr<const NgramSet> evaluation, DocumentSink& next);

    void begin(const Piece& piece, std::uint64_t offset) override;
    void add(std::span<const std::byte> text) override;
    void end(bool complete) override;
    void reject(const Piece& piece, std::uint64_t offset, std::string_view reason) override {
        next_.reject(piece, offset, reason);
    }

    const CleanCounts& counts() const { return counts_; }

  private:
    /// The reason why the document is dropped; empty for one that stays, with its text cleaned.
    std::string clean();
    std::string anonymise(Anonymiser::Counts& redacted);
    /// Of a document that stays.
    void count(const Anonymiser::Counts& redacted);
    std::string compare_with_evaluation();

    CleanConfig config_;
    std::optional<Anonymiser> anonymiser_;
    std::shared_ptr<const NgramSet> evaluation_;
    DocumentSink& next_;
    CleanCounts counts_;
    const Piece* piece_ = nullptr;
    std::uint64_t offset_ = 0;
    std::string text_;
};

}  // namespace kiban::data
