// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/import_model.h"

#include <algorithm>
#include <memory>
#include <utility>

#include "checkpoint/commit.h"
#include "checkpoint/imported.h"
#include "checkpoint/reader.h"
#include "checkpoint/shard.h"
#include "checkpoint/state.h"
#include "coordinator/config/run_file_defaults.h"
#include "coordinator/job/ownership.h"
#include "coordinator/job/version.h"
#include "coordinator/run/import_source.h"
#include "coordinator/run/journal.h"
#include "coordinator/run/lease.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/status.h"
#include "data/tokenizer.h"
#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using checkpoint::DType;
using checkpoint::TensorInfo;

RunFile run_file_for(const ImportOptions& options, const ImportSource& source) {
    std::vector<std::string> settings = options.settings;
    settings.push_back("run.dir=" + fs::absolute(options.run_dir).lexically_normal().string());
    const auto defaults = source.run_file_defaults();
    const std::string name = options.run_file.empty() ? "the settings" : options.run_file.string();
    RunFile run_file = read_run_file_over(defaults, options.run_file, settings);
    source.check_run_file(run_file, fmt::format("'{}'", name));
    return run_file;
}

// A checkpoint of an import that was cut off before its run file was written: a new one comes after it.
bool is_left_over(const fs::path& checkpoint) {
    if (checkpoint::quick_fault(checkpoint)) return false;
    const checkpoint::CheckpointReader reader(checkpoint);
    return checkpoint::is_import(checkpoint::run_state_from_json(reader.state()));
}

// An import that was cut off has left no run file; another run has checkpoints of its own, a curve or one.
void refuse_used(const RunDirectory& directory) {
    std::error_code error;
    if (!fs::exists(directory.root(), error)) return;
    const auto checkpoints = checkpoint::list_checkpoints(directory.root());
    const bool used = fs::exists(directory.run_file()) ||
                      std::any_of(checkpoints.begin(), checkpoints.end(),
                                  [](const auto& there) { return !is_left_over(there.directory); }) ||
                      (fs::exists(directory.curve()) && !monitoring::read_curve(directory.curve()).rows.empty());
    if (!used) return;
    throw ConfigError("cannot import into '{}': it holds a run; name another directory", directory.root().string());
}

// Collects the slices of one file of the checkpoint and writes it when it is full.
class Shards {
  public:
    Shards(fs::path staging, std::uint64_t bytes, std::int64_t largest, bool muon)
        : staging_(std::move(staging)),
          bytes_(bytes),
          muon_(muon),
          zeros_(std::make_unique<float[]>(static_cast<std::size_t>(largest))) {}

    void add(const TensorSpec& spec, std::vector<float> values) {
        const auto held = static_cast<std::uint64_t>(spec.elements()) * sizeof(float);
        for (const std::string_view kind : optimizer_state_kinds(spec, muon_)) add_slice(spec, kind, zeros_.get());
        add_slice(spec, "param", values.data());
        values_.push_back(std::move(values));
        filled_ += held;
        if (filled_ >= bytes_) flush();
    }

    std::vector<checkpoint::ShardReport> take() {
        if (!slices_.empty() || reports_.empty()) flush();
        return std::move(reports_);
    }

  private:
    void add_slice(const TensorSpec& spec, std::string_view kind, const float* data) {
        const TensorInfo info{.id = {spec.name, std::string(kind)}, .dtype = DType::f32, .shape = spec.shape};
        slices_.push_back({info, checkpoint::whole(spec.shape), data});
    }

    void flush() {
        reports_.push_back(checkpoint::write_shard(staging_, static_cast<int>(reports_.size()), slices_));
        slices_.clear();
        values_.clear();
        filled_ = 0;
    }

    fs::path staging_;
    std::uint64_t bytes_;
    bool muon_;
    std::unique_ptr<float[]> zeros_;  // the optimizer's state of every tensor
    std::vector<std::vector<float>> values_;
    std::vector<checkpoint::TensorSlice> slices_;
    std::uint64_t filled_ = 0;
    std::vector<checkpoint::ShardReport> reports_;
};

void add_tensor(Shards& shards, const ImportSource& source, const ForeignTensor& tensor) {
    std::vector<float> values = source.values_of(tensor);
    if (tensor.transposed) values = transposed(values, tensor.shape[0], tensor.shape[1]);
    if (tensor.ours.size() == 1) return shards.add(tensor.ours.front(), std::move(values));
    auto from = values.begin();
    for (const TensorSpec& spec : tensor.ours) {
        const auto to = from + static_cast<std::ptrdiff_t>(spec.elements());
        shards.add(spec, std::vector<float>(from, to));
        from = to;
    }
}

// The run has its own: the directory that it came from may go.
void keep_tokenizer(const ImportSource& source, const RunDirectory& directory, RunFile& run_file) {
    if (!data::Tokenizer::is_file(run_file.data.tokenizer)) return;
    const fs::path kept = directory.root() / source.tokenizer_file().filename();
    monitoring::publish(kept, monitoring::read_text(source.tokenizer_file()));
    run_file.data.tokenizer = kept.string();
}

checkpoint::RunState state_of(const RunFile& run_file) {
    checkpoint::RunState state;
    state.seed = run_file.run.seed;
    state.run_file = to_toml(run_file);
    state.tokenizer = run_file.data.tokenizer;
    if (data::Tokenizer::is_file(state.tokenizer))
        state.tokenizer_sha256 = data::Tokenizer::from_file(run_file.base / state.tokenizer).sha256();
    state.sequence_length = run_file.data.sequence_length;
    state.reduction = run_file.train.reduction;
    state.micro_batch_rows = run_file.train.micro_batch_rows;
    state.kiban_version = version();
    KIBAN_CHECK(checkpoint::is_import(state), "an import has a corpus or steps");
    return state;
}

fs::path write_checkpoint(const fs::path& run_dir, std::uint64_t shard_bytes, const RunFile& run_file,
                          const ImportSource& source, const std::vector<ForeignTensor>& tensors, const Lease& lease) {
    std::int64_t largest = 1;
    std::uint64_t bytes = 0;
    for (const ForeignTensor& tensor : tensors) {
        largest = std::max(largest, tensor.elements());
        bytes += 3 * static_cast<std::uint64_t>(tensor.elements()) * sizeof(float);
    }
    const fs::path staging = checkpoint::begin_checkpoint(run_dir, /*step=*/0, lease.attempt(), bytes);
    try {
        Shards shards(staging, shard_bytes, largest, run_file.train.optimizer.name == "muon");
        for (const ForeignTensor& tensor : tensors) add_tensor(shards, source, tensor);
        return checkpoint::commit_checkpoint(run_dir, staging, 0, lease.attempt(), shards.take(),
                                             checkpoint::to_json(state_of(run_file)),
                                             [&lease] { return lease.is_current(); })
            .directory;
    } catch (...) {
        checkpoint::abandon_checkpoint(staging);
        throw;
    }
}

void tell(const ImportOptions& options, const RunFile& run_file, const ImportResult& result, std::uint32_t attempt,
          const RunDirectory& directory, const std::string& run_id) {
    const std::string from = fs::absolute(options.directory).string();
    Journal journal(directory.journal());
    journal.set_attempt(attempt);
    journal.add("imported", {{"from", from},
                             {"model", result.model},
                             {"parameters", result.parameters},
                             {"checkpoint", result.checkpoint.string()}});
    RunStatus status;
    status.run = run_file.run.name;
    status.run_id = run_id;
    status.state = "prepared";
    status.message = fmt::format("the model is imported from {}", from);
    status.attempt = attempt;
    status.steps = run_file.train.steps;
    status.checkpoint = result.checkpoint.string();
    write_status(directory.status(), status);
}

}  // namespace

ImportResult import_model(const ImportOptions& options) {
    ImportSource source(options.directory);
    RunFile run_file = run_file_for(options, source);
    const std::vector<ForeignTensor> tensors = source.checked_tensors();
    RunDirectory directory(fs::absolute(options.run_dir).lexically_normal());
    refuse_used(directory);
    monitoring::make_directories(directory.root());
    const Lease lease = Lease::acquire(directory.root());
    refuse_used(directory);  // another import may have ended in between
    const std::string run_id = directory.open_or_create();
    keep_tokenizer(source, directory, run_file);
    ImportResult result{
        .model = fmt::format("{} {}x{}", run_file.model.layout == ModelLayout::llama ? "llama" : "gpt2",
                             run_file.model.layers, run_file.model.d_model),
        .tensors = 0,
        .parameters = 0,
        .notes = source.notes(),
        .run_file = directory.run_file(),
        .checkpoint = write_checkpoint(directory.root(), options.shard_bytes, run_file, source, tensors, lease)};
    for (const ForeignTensor& tensor : tensors) {
        result.tensors += tensor.ours.size();
        result.parameters += static_cast<std::uint64_t>(tensor.elements());
    }
    tell(options, run_file, result, lease.attempt(), directory, run_id);
    monitoring::publish(directory.run_file(), to_toml(run_file));
    return result;
}

}  // namespace kiban::coordinator
