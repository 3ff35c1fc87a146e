// SPDX-License-Identifier: Apache-2.0
#include "tests/coordinator/made_run.h"

#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <numeric>
#include <vector>

#include "checkpoint/commit.h"
#include "checkpoint/state.h"
#include "coordinator/config/run_file.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/status.h"
#include "data/manifest.h"
#include "data/prepare.h"
#include "monitoring/curve.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

fs::path new_directory() {
    std::string pattern = (fs::temp_directory_path() / "kiban-made-run-XXXXXX").string();
    if (::mkdtemp(pattern.data()) == nullptr) throw std::runtime_error("mkdtemp failed");
    return pattern;
}

void write_curve(const fs::path& directory) {
    monitoring::CurveWriter writer(directory);
    writer.begin_attempt(1, 0);
    for (std::uint64_t step = 1; step <= MadeRun::kSteps; ++step) {
        monitoring::CurveRow row;
        row.step = step;
        row.tokens = step * 64;
        row.loss = 5.0 / static_cast<double>(step);
        row.learning_rate = 1e-3;
        row.grad_norm = 0.1 * static_cast<double>(step);
        if (step % 10 == 0) row.eval_loss = 2.5;
        row.step_seconds = 0.125;
        row.attempt = 1;
        writer.append(row);
    }
    writer.sync();
}

fs::path save(const fs::path& run_dir, std::uint64_t step, const RunFile& file, const std::string& digest) {
    std::vector<float> weights(6 * 4);
    std::iota(weights.begin(), weights.end(), static_cast<float>(step));
    const checkpoint::Shape shape = {6, 4};
    std::vector<checkpoint::TensorSlice> slices;
    for (const char* name : {"embedding.weight", "layers.10.norm.weight", "layers.2.norm.weight"}) {
        for (const char* kind : {"param", "exp_avg"}) {
            slices.push_back({{{name, kind}, checkpoint::DType::f32, shape}, checkpoint::whole(shape), weights.data()});
        }
    }
    checkpoint::RunState state;
    state.step = step;
    state.tokens = step * 64;
    state.run_file = to_toml(file);
    state.data_digest = digest;
    state.tokenizer = "bytes";
    state.sequence_length = 16;
    state.reduction = "fast";
    const fs::path staging = checkpoint::begin_checkpoint(run_dir, step, 1, 4096);
    const auto report = checkpoint::write_shard(staging, 0, slices);
    return checkpoint::commit_checkpoint(run_dir, staging, step, 1, {report}, checkpoint::to_json(state),
                                         [] { return true; })
        .directory;
}

void write_status_of(const RunDirectory& directory, const fs::path& checkpoint) {
    RunStatus status;
    status.run = directory.root().filename().string();
    status.state = "done";
    status.attempt = 1;
    status.step = status.steps = MadeRun::kSteps;
    status.tokens = MadeRun::kSteps * 64;
    status.loss = 0.25;
    status.eval_loss = 2.5;
    status.checkpoint = checkpoint.string();
    status.checkpoint_step = MadeRun::kSteps;
    status.host = "here";
    write_status(directory.status(), status);
}

}  // namespace

MadeRun::MadeRun(const std::string& name) : root(new_directory()), run_dir(root / "runs" / name) {
    for (int line = 0; line < 40; ++line) text += fmt::format("line {} of the text\n", line);
    std::ofstream(root / "text.txt") << text;
    const RunFile file = parse_run_file(
        "[[data.sources]]\npath = 'text.txt'\n[data]\nsequence_length = 16\n[launch]\nthreads_per_worker = 1\n", root,
        "made", {"run.name=" + name, fmt::format("train.steps={}", kSteps), "train.schedule.warmup_steps=0"});
    RunDirectory directory(run_dir);
    directory.open_or_create();
    monitoring::publish(directory.run_file(), to_toml(file));
    const data::Manifest corpus = data::prepare_here(file.data, file.base, file.corpora_dir());
    manifest = data::Preparation(file.data, file.base, file.corpora_dir()).manifest_file();
    token_shard = corpus.directory / corpus.shards.at(0).file;
    write_corpus_reference(directory, {manifest, corpus.digest()});
    write_curve(directory.curve());
    older_checkpoint = save(run_dir, 10, file, corpus.digest());
    newest_checkpoint = save(run_dir, 20, file, corpus.digest());
    Journal journal(directory.journal());
    journal.set_attempt(1);
    journal.add("finished", {{"step", kSteps}});
    write_status_of(directory, newest_checkpoint);
}

MadeRun::~MadeRun() {
    std::error_code ignored;
    fs::remove_all(root, ignored);
}

void damage(const fs::path& file, std::int64_t offset) {
    std::fstream bytes(file, std::ios::in | std::ios::out | std::ios::binary);
    const auto from = offset < 0 ? std::ios::end : std::ios::beg;
    bytes.seekg(offset, from);
    const int byte = bytes.get();
    bytes.seekp(offset, from);
    bytes.put(static_cast<char>(byte + 1));
    if (!bytes.flush()) throw std::runtime_error("cannot damage " + file.string());
}

}  // namespace kiban::coordinator
