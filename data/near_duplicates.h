// SPDX-License-Identifier: Apache-2.0
// Documents with nearly the same text (data/clean/min_hash.h): whoever shares a band with another is of its cluster,
// and so is whoever shares one with those; of a cluster the first document stays (by source, then unit, then place).
//
// Work is cut by band: each of kBands tasks links the documents of all units that have the same key; one task joins the
// links. Both are functions of what was staged, not of who does them.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <vector>

#include "data/clean/min_hash.h"
#include "data/documents.h"

namespace kiban::data {

/// Passes documents on, each of which comes in one part, and keeps the keys of those that were staged: of a document
/// that gives no token (SentencePiece makes none of white space) there is none, and it has no number in its unit.
class BandKeySink : public DocumentSink {
  public:
    /// `staged`: how many documents `next` has staged until now.
    BandKeySink(DocumentSink& next, std::function<std::uint64_t()> staged) : next_(next), staged_(std::move(staged)) {}

    void begin(const Piece& piece, std::uint64_t offset) override;
    void add(std::span<const std::byte> text) override;
    void end(bool complete) override;
    void reject(const Piece& piece, std::uint64_t offset, std::string_view reason) override {
        next_.reject(piece, offset, reason);
    }

    /// What run_band() reads: to be published before the unit is.
    void publish(const std::filesystem::path& corpus, std::uint64_t unit) const;

  private:
    DocumentSink& next_;
    std::function<std::uint64_t()> staged_;
    std::vector<BandKeys> keys_;  // one a staged document
};

/// The tasks "band" and "cluster" of data/tasks.h.
nlohmann::json run_band(const nlohmann::json& task);
nlohmann::json run_cluster(const nlohmann::json& task);

}  // namespace kiban::data
