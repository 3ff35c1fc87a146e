// SPDX-License-Identifier: Apache-2.0
// Where things lie in a run directory, and the run's identity (run.json). What else is there: coordinator/FORMAT.md.
//
// Errors: IoError; ConfigError when run.json or corpus.json cannot be understood, or has another format.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace kiban::coordinator {

class RunDirectory {
  public:
    /// Names only: touches nothing.
    explicit RunDirectory(std::filesystem::path root) : root_(std::move(root)) {}

    /// Makes the directory and run.json when they are missing; returns the run's id.
    std::string open_or_create();

    const std::filesystem::path& root() const { return root_; }
    std::filesystem::path run_file() const { return root_ / "run.toml"; }        // resolved
    std::filesystem::path identity() const { return root_ / "run.json"; }        // {format, run}
    std::filesystem::path corpus() const { return root_ / "corpus.json"; }       // {format, manifest, digest}
    std::filesystem::path forgotten() const { return root_ / "forgotten.txt"; }  // data.forget, as last read
    std::filesystem::path journal() const { return root_ / "journal.jsonl"; }
    std::filesystem::path status() const { return root_ / "status.json"; }
    std::filesystem::path curve() const { return root_ / "curve"; }
    std::filesystem::path report() const { return root_ / "report.html"; }
    std::filesystem::path resume_certificate() const { return root_ / "resume-certificate.json"; }
    std::filesystem::path logs() const { return root_ / "logs"; }
    std::filesystem::path logs(std::uint32_t attempt) const { return logs() / ("attempt-" + std::to_string(attempt)); }

    /// `--fresh`: moves checkpoints, curve and report into old-ATTEMPT/, so that the run starts over and nothing is
    /// lost. Returns what was moved.
    std::vector<std::string> set_aside(std::uint32_t attempt) const;

  private:
    std::filesystem::path root_;
};

/// The id in run.json; empty when there is none yet.
std::string run_id_of(const RunDirectory& directory);

/// Which prepared corpus a run uses.
struct CorpusReference {
    std::filesystem::path manifest;
    std::string digest;
};
void write_corpus_reference(const RunDirectory& directory, const CorpusReference& reference);
/// ConfigError when the run has none yet.
CorpusReference read_corpus_reference(const RunDirectory& directory);

}  // namespace kiban::coordinator
