// SPDX-License-Identifier: Apache-2.0
// kiban verify RUN_DIR|CHECKPOINT: re-reads every byte of checkpoints, curve and corpus; lists what is good and what is
// not.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <memory>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/cli/readable.h"
#include "data/digest.h"
#include "data/manifest.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

// Prints a line per thing as soon as it is known, and counts what is bad.
class Findings {
  public:
    void good(const std::string& what, const std::string& text) { print("good", what, text); }
    void note(const std::string& what, const std::string& text) { print("note", what, text); }
    void bad(const std::string& what, const std::string& fault) {
        print("BAD ", what, fault);
        ++faults_;
    }
    std::size_t faults() const { return faults_; }

  private:
    static void print(const char* verdict, const std::string& what, const std::string& text) {
        fmt::print("{}  {}: {}\n", verdict, what, text);
        std::fflush(stdout);
    }

    std::size_t faults_ = 0;
};

// Turns the errors of a reader into findings.
template <typename Check>
void checked(Findings& findings, const std::string& what, Check check) {
    try {
        check();
    } catch (const Error& error) {
        findings.bad(what, error.what());
    }
}

void verify_one_checkpoint(Findings& findings, const fs::path& checkpoint, const std::string& what,
                           const std::string& marks = "") {
    const checkpoint::VerifyResult result = checkpoint::verify_checkpoint(checkpoint);
    if (!fs::exists(checkpoint)) return findings.note(what, "removed meanwhile, by a live run");
    for (const std::string& fault : result.faults) findings.bad(what, fault);
    if (result.faults.empty()) {
        findings.good(what, fmt::format("{} files, {} tensors, {}{}", result.files, result.tensors,
                                        bytes_text(result.bytes), marks));
    }
}

// ", promoted" and ", pinned", as the records of the run say.
std::string marks_of(const RunDirectory& directory, const std::string& name) {
    const auto is_in = [&](const std::vector<std::string>& names) {
        return std::find(names.begin(), names.end(), name) != names.end();
    };
    std::string marks = is_in(checkpoint::promoted_checkpoints(directory.root())) ? ", promoted" : "";
    if (is_in(checkpoint::pinned_checkpoints(directory.root()))) marks += ", pinned";
    return marks;
}

// Directories beside the checkpoints that were read: rejected by an earlier resume (bad, and known to be), or new.
void note_rejected(Findings& findings, const RunDirectory& directory,
                   const std::vector<checkpoint::CheckpointInfo>& listed) {
    const fs::path root = directory.root() / "ckpt";
    if (!monitoring::directory_at(root)) return;
    const auto is_in = [](const std::vector<checkpoint::CheckpointInfo>& infos, const std::string& name) {
        return std::ranges::any_of(infos, [&](const auto& info) { return info.directory.filename() == name; });
    };
    const auto names = monitoring::names_in(root);
    const auto now = checkpoint::list_checkpoints(directory.root());
    for (const std::string& name : names) {
        if (is_in(listed, name) || name.starts_with(".") || !monitoring::directory_at(root / name)) continue;
        findings.note("ckpt/" + name, is_in(now, name) ? "committed meanwhile, by a live run: not read"
                                                       : "not used: rejected (ckpt/rejected.jsonl says why), or no "
                                                         "checkpoint's name");
    }
}

void verify_corpus(Findings& findings, const fs::path& manifest_file, const std::string& expected_digest) {
    const std::string what = manifest_file.string();
    checked(findings, what, [&] {
        const data::Manifest manifest = data::Manifest::load(manifest_file);
        if (!expected_digest.empty() && manifest.digest() != expected_digest) {
            throw DataError("its digest is {}, expected {}, which the run was trained on", manifest.digest(),
                            expected_digest);
        }
        std::uint64_t bytes = 0;
        std::size_t bad = 0;
        for (const data::ManifestShard& shard : manifest.shards) {
            const fs::path file = manifest.directory / shard.file;
            const std::string found = data::sha256_of_file(file);
            bytes += shard.bytes;
            if (found == shard.sha256) continue;
            findings.bad(file.string(), fmt::format("its SHA-256 is {}, expected {}", found, shard.sha256));
            ++bad;
        }
        if (bad == 0)
            findings.good(what, fmt::format("{} token shards, {}", manifest.shards.size(), bytes_text(bytes)));
    });
}

void verify_run(Findings& findings, const RunDirectory& directory) {
    checked(findings, "run.toml", [&] {
        if (run_file_of(directory)) findings.good("run.toml", "it reads as a resolved run file");
    });
    checked(findings, "curve", [&] {
        const monitoring::Curve curve = monitoring::read_curve(directory.curve());
        findings.good("curve", fmt::format("{} steps, {} superseded", curve.rows.size(), curve.superseded_rows));
    });
    const auto checkpoints = checkpoint::list_checkpoints(directory.root());
    for (const auto& info : checkpoints) {
        const std::string name = info.directory.filename().string();
        verify_one_checkpoint(findings, info.directory, "ckpt/" + name, marks_of(directory, name));
    }
    if (checkpoints.empty()) findings.note("ckpt", "no checkpoint yet");
    note_rejected(findings, directory, checkpoints);
    checked(findings, "corpus.json", [&] {
        if (!fs::exists(directory.corpus())) return findings.note("corpus", "none yet");
        const CorpusReference reference = read_corpus_reference(directory);
        verify_corpus(findings, reference.manifest, reference.digest);
    });
}

int verify(const fs::path& path) {
    Findings findings;
    if (is_checkpoint(path)) {
        verify_one_checkpoint(findings, fs::absolute(path), path.string());
    } else {
        verify_run(findings, named_run(path));
    }
    if (findings.faults() == 0) {
        fmt::print("every byte is good\n");
        return kExitDone;
    }
    fmt::print("{} faults\n", findings.faults());
    return kExitIo;
}

}  // namespace

void add_verify_command(CLI::App& app, int& exit_code) {
    CLI::App* command =
        app.add_subcommand("verify", "re-reads every byte of a run or a checkpoint; says what is good, what is not");
    auto path = std::make_shared<fs::path>();
    command->add_option("PATH", *path, "run directory or checkpoint directory")->required();
    command->callback([path, &exit_code] { exit_code = verify(*path); });
}

}  // namespace kiban::coordinator
