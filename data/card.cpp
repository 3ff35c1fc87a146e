// SPDX-License-Identifier: Apache-2.0
#include "data/card.h"

#include <fmt/format.h>

namespace kiban::data {
namespace {

std::string or_not_stated(const std::string& text) { return text.empty() ? "not stated" : text; }

// A cell of a table must not end it.
std::string cell(const std::string& text) {
    std::string escaped;
    for (const char letter : text) {
        if (letter == '|') escaped.push_back('\\');
        escaped.push_back(letter == '\n' ? ' ' : letter);
    }
    return escaped;
}

std::string sources_table(const Manifest& manifest) {
    std::string text =
        "| source | licence | legal basis | use until | sensitivity | documents | tokens to train on | held out |\n"
        "|---|---|---|---|---|---|---|---|\n";
    for (const ManifestSource& source : manifest.sources) {
        const SourceAccount& account = source.account;
        text += fmt::format(
            "| {} | {} | {} | {} | {} | {} | {} | {} |\n", cell(source.name), cell(or_not_stated(account.licence)),
            cell(or_not_stated(account.legal_basis)), account.retain_until.empty() ? "no end" : account.retain_until,
            or_not_stated(account.sensitivity), source.documents, source.train.tokens, source.holdout.tokens);
    }
    return text;
}

std::string cleaning_of(const Manifest& manifest, const ManifestSource& source) {
    const CleanCounts& cleaned = source.cleaned;
    std::string text = fmt::format("\n### {}\n\n{} documents of {} bytes were read.\n\n", source.name,
                                   cleaned.documents, cleaned.bytes);
    for (const auto& [reason, documents] : cleaned.dropped)
        text += fmt::format("* left out, {}: {} documents\n", reason, documents);
    for (const auto& [what, count] : cleaned.changed) text += fmt::format("* changed, {}: {}\n", what, count);
    for (const auto& [kind, redaction] : cleaned.redacted) {
        text += fmt::format("* {}, {}: {} values in {} documents\n", kind, manifest.anonymised.at(kind),
                            redaction.values, redaction.documents);
    }
    for (const auto& [file, documents] : cleaned.contaminated)
        text += fmt::format("* shares words with {}: {} documents\n", file, documents);
    return text;
}

std::string evaluation_text(const ManifestEvaluation& evaluation) {
    if (evaluation.words == 0) return "The documents were compared with no evaluation files.\n";
    std::string text = fmt::format("A run of {} words shared with one of these: {}.\n\n", evaluation.words,
                                   evaluation.action == "drop" ? "the document was left out" : "it was counted");
    for (const EvaluationFile& file : evaluation.files) {
        text += fmt::format("* {}: {} texts ({} too short to be found)\n", file.name, file.documents, file.too_short);
    }
    return text;
}

std::string personal_text(const Manifest& manifest) {
    if (!manifest.has_audit()) return "Nothing was taken out of the text.\n";
    std::string text = fmt::format("Rules of version {}; the audit log has {} lines and ends in {}.\n\n",
                                   manifest.anonymise_rules, manifest.audit.lines, manifest.audit.sha256);
    for (const auto& [kind, op] : manifest.anonymised) text += fmt::format("* {}: {}\n", kind, op);
    if (!manifest.approved_by.empty()) {
        text += fmt::format("\nEncryption, which the holder of the key {} can undo, was allowed by {}.\n",
                            manifest.key_id, manifest.approved_by);
    }
    return text;
}

}  // namespace

std::string data_card(const Manifest& manifest) {
    std::string text =
        fmt::format("# Corpus {}\n\nTokenizer `{}`, {} tokens. {} shards.\n\n## Sources\n\n{}", manifest.digest(),
                    manifest.tokenizer, manifest.vocabulary, manifest.shards.size(), sources_table(manifest));
    text += "\n## What was done to the documents\n";
    for (const ManifestSource& source : manifest.sources) {
        if (source.cleaned == CleanCounts{}) {
            text += fmt::format("\n### {}\n\nThey were taken as they are.\n", source.name);
        } else {
            text += cleaning_of(manifest, source);
        }
        for (const auto& [reason, lines] : source.rejected)
            text += fmt::format("* lines that are no documents, {}: {}\n", reason, lines);
        if (source.special_texts > 0) {
            text += fmt::format("* texts of special tokens, taken as ordinary text: {}\n", source.special_texts);
        }
    }
    text += "\n## Personal data\n\n" + personal_text(manifest);
    text += "\n## Evaluation files\n\n" + evaluation_text(manifest.evaluation);
    return text;
}

}  // namespace kiban::data
