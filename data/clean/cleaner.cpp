// SPDX-License-Identifier: Apache-2.0
#include "data/clean/cleaner.h"

#include <array>
#include <exception>

#include "data/clean/filter.h"
#include "data/clean/normalise.h"
#include "data/document_id.h"
#include "monitoring/error.h"
#include "monitoring/log.h"

namespace kiban::data {

Cleaner::Cleaner(CleanConfig config, std::shared_ptr<const NgramSet> evaluation, DocumentSink& next)
    : config_(std::move(config)), evaluation_(std::move(evaluation)), next_(next) {
    if (config_.anonymise != AnonymiseConfig{}) anonymiser_.emplace(config_.anonymise);
}

void Cleaner::begin(const Piece& piece, std::uint64_t offset) {
    KIBAN_CHECK(!piece.part_of_document(), "a text is cleaned in parts");
    piece_ = &piece;
    offset_ = offset;
    text_.clear();
}

void Cleaner::add(std::span<const std::byte> text) {
    if (text_.size() + text.size() > kRecordBytes) {
        throw DataError(
            "cannot clean the document at byte {} of '{}': expected at most {} bytes, found more; cut it into files or "
            "lines of JSONL, or leave out data.clean",
            offset_, piece_->path.string(), kRecordBytes);
    }
    text_.append(reinterpret_cast<const char*>(text.data()), text.size());
}

void Cleaner::end(bool complete) {
    KIBAN_CHECK(complete, "a document that is cleaned has an end");
    if (text_.empty()) return;
    ++counts_.documents;
    counts_.bytes += text_.size();
    if (const std::string reason = clean(); !reason.empty()) {
        ++counts_.dropped[reason];
        return;
    }
    next_.begin(*piece_, offset_);
    next_.add(std::as_bytes(std::span(text_)));
    next_.end(true);
}

std::string Cleaner::clean() {
    const std::uint64_t bytes = text_.size();
    NormaliseCounts normalised;
    if (config_.normalise == "text") {
        normalised = normalise_text(text_);
        if (is_no_text(normalised, bytes)) return "no_text";
        if (text_.empty()) return "empty";
    }
    if (const auto broken = broken_rule(config_.filter, text_); !broken.empty()) return std::string(broken);
    Anonymiser::Counts redacted;
    if (std::string reason = anonymise(redacted); !reason.empty()) return reason;
    if (std::string reason = compare_with_evaluation(); !reason.empty()) return reason;
    count(redacted);
    const auto add = [&](const char* what, std::uint64_t count) {
        if (count > 0) counts_.changed[what] += count;
    };
    add("normalised_documents", normalised.changed() ? 1 : 0);
    add("ill_formed_bytes", normalised.ill_formed_bytes);
    add("control_bytes", normalised.control_bytes);
    add("line_ends", normalised.line_ends);
    return {};
}

// Fails closed: what cannot be looked at is not used.
std::string Cleaner::anonymise(Anonymiser::Counts& redacted) {
    if (!anonymiser_) return {};
    try {
        if (const auto kind = anonymiser_->apply(text_, redacted)) return fmt::format("personal_{}", name_of(*kind));
    } catch (const std::exception& failure) {
        monitoring::log_warning("the document at byte {} of '{}' is left out, since it cannot be anonymised: {}",
                                offset_, piece_->path.string(), failure.what());
        return "anonymiser_failed";
    }
    return {};
}

void Cleaner::count(const Anonymiser::Counts& redacted) {
    if (redacted.empty()) return;
    const std::array<DocumentId, 1> id = {document_id_of(text_)};
    for (const auto& [kind, redaction] : redacted) {
        counts_.redacted[kind] += redaction;
        counts_.affected[kind].push_back(to_hex(id));
    }
}

// Counted by evaluation file whether or not the document goes.
std::string Cleaner::compare_with_evaluation() {
    if (!evaluation_) return {};
    const std::vector<std::size_t> files = evaluation_->shared_with(text_);
    for (const std::size_t file : files) ++counts_.contaminated[evaluation_->files()[file].name];
    return !files.empty() && config_.contamination.action == "drop" ? "contaminated" : "";
}

}  // namespace kiban::data
