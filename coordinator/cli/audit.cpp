// SPDX-License-Identifier: Apache-2.0
// kiban audit RUN_DIR|CORPUS: what was taken out of the text and what of it is left, from the files themselves.
#include "data/privacy/audit.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <filesystem>
#include <map>
#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/cli/readable.h"
#include "coordinator/run/run_directory.h"
#include "data/lineage.h"
#include "data/manifest.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

data::Manifest manifest_of(const fs::path& path) {
    if (fs::exists(path / "manifest.json")) return data::Manifest::load(path / "manifest.json");
    if (path.filename() == "manifest.json") return data::Manifest::load(path);
    const CorpusReference corpus = read_corpus_reference(named_run(path));
    data::Manifest manifest = data::Manifest::load(corpus.manifest);
    if (const std::string digest = manifest.digest(); digest != corpus.digest) {
        throw DataError("the corpus of '{}' was changed: expected the manifest with digest {}, found {}", path.string(),
                        corpus.digest, digest);
    }
    return manifest;
}

void print_source(const data::ManifestSource& source, const data::Manifest& manifest, const data::AuditReport& report) {
    const data::CleanCounts& cleaned = source.cleaned;
    fmt::print("{}: {} documents\n", source.name, count_text(source.documents));
    for (const auto& [reason, documents] : cleaned.dropped)
        fmt::print("  dropped   {:<28} {} documents\n", reason, count_text(documents));
    for (const auto& [kind, redaction] : cleaned.redacted) {
        fmt::print("  {:<9} {:<28} {} values in {} documents\n", manifest.anonymised.at(kind), kind,
                   count_text(redaction.values), count_text(redaction.documents));
    }
    if (const auto kept = report.kept.find(source.name); kept != report.kept.end()) {
        for (const auto& [kind, values] : kept->second)
            fmt::print("  keep      {:<28} {} values\n", kind, count_text(values));
    }
}

void print_lineage(const std::vector<data::Ancestor>& ancestors) {
    for (const data::Ancestor& parent : ancestors) {
        fmt::print("{} was {} {} ({}){}\n", parent.child.substr(0, 16),
                   parent.appended ? "appended to" : "prepared again from", parent.digest.substr(0, 16),
                   parent.directory, parent.present ? "" : ", which is not there any more");
    }
}

int audit(const fs::path& path, const std::string& names_file) {
    const data::Manifest manifest = manifest_of(path);
    print_lineage(data::check_lineage(manifest));
    const auto names = data::read_names(names_file);
    const data::AuditReport report = data::audit_corpus(manifest, names.get());
    for (const data::ManifestSource& source : manifest.sources) print_source(source, manifest, report);
    fmt::print("{} shards, {} documents, {} of text, {} lines of the audit log: as the manifest has them\n",
               report.shards, count_text(report.documents), bytes_text(report.text_bytes), report.log_lines);
    if (!manifest.has_audit()) fmt::print("nothing was to be anonymised; its text was not looked at\n");
    constexpr std::size_t kShown = 20;
    for (std::size_t i = 0; i < report.residuals.size() && i < kShown; ++i) {
        const data::Residual& residual = report.residuals[i];
        fmt::print("LEFT  {} in document {} of {}\n", name_of(residual.kind), residual.document, residual.source);
    }
    fmt::print("{} of what was to be taken out is left\n", report.residuals.size());
    return report.residuals.empty() ? kExitDone : kExitData;
}

}  // namespace

void add_audit_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("audit", "what personal data was taken out of a corpus, and what is left");
    auto path = std::make_shared<fs::path>();
    command->add_option("PATH", *path, "run directory, corpus directory or its manifest.json")->required();
    auto names = std::make_shared<std::string>();
    command->add_option("--names", *names,
                        "the list of names (data.clean.anonymise.names_file), where they were taken out");
    command->callback([path, names, &exit_code] { exit_code = audit(*path, *names); });
}

}  // namespace kiban::coordinator
