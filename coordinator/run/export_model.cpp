// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/export_model.h"

#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

#include "checkpoint/float_bits.h"
#include "checkpoint/reader.h"
#include "checkpoint/safetensors_directory.h"
#include "checkpoint/state.h"
#include "coordinator/config/run_file.h"
#include "coordinator/job/interchange.h"
#include "coordinator/job/interchange_config.h"
#include "coordinator/run/reading_mark.h"
#include "coordinator/run/run_tokenizer.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using checkpoint::CheckpointReader;
using checkpoint::DType;
using checkpoint::SafeTensor;
using checkpoint::TensorInfo;

struct Source {
    CheckpointReader reader;
    checkpoint::RunState state;
    RunFile run_file;
    RunTokenizer tokenizer;
    ForeignModel model;
};

Source open_source(const fs::path& checkpoint) {
    CheckpointReader reader(checkpoint);
    checkpoint::RunState state = checkpoint::run_state_from_json(reader.state());
    RunFile run_file = parse_saved_run_file(state.run_file, {}, fmt::format("run file in '{}'", checkpoint.string()));
    const fs::path run_dir = fs::absolute(checkpoint).lexically_normal().parent_path().parent_path();
    RunTokenizer tokenizer = tokenizer_of_run(run_dir, run_file, state.tokenizer_sha256);
    ForeignModel model{.model = run_file.model,
                       .vocabulary = run_file.model.vocabulary,
                       .sequence_length = state.sequence_length,
                       .tied = run_file.model.layout == ModelLayout::gpt2};
    if (model.vocabulary == 0) model.vocabulary = tokenizer.tokenizer.vocabulary();
    return {std::move(reader), std::move(state), std::move(run_file), std::move(tokenizer), model};
}

// A staging directory beside the target; it goes when it was not named.
class StagedDirectory {
  public:
    explicit StagedDirectory(const fs::path& target) : target_(fs::absolute(target).lexically_normal()) {
        if (!target_.has_filename()) target_ = target_.parent_path();
        refuse_when_used();
        monitoring::make_directories(target_.parent_path());
        std::string name = (target_.parent_path() / fmt::format(".{}.XXXXXX", target_.filename().string())).string();
        if (::mkdtemp(name.data()) == nullptr)
            throw IoError("cannot make a directory in '{}': {}", target_.parent_path().string(), std::strerror(errno));
        fs::permissions(name, fs::perms::owner_all | fs::perms::group_read | fs::perms::group_exec |
                                  fs::perms::others_read | fs::perms::others_exec);
        staging_ = name;
    }
    ~StagedDirectory() {
        std::error_code ignored;
        if (!staging_.empty()) fs::remove_all(staging_, ignored);
    }
    StagedDirectory(const StagedDirectory&) = delete;
    StagedDirectory& operator=(const StagedDirectory&) = delete;

    const fs::path& path() const { return staging_; }
    void publish() {
        refuse_when_used();
        std::error_code ignored;
        fs::remove(target_, ignored);  // an empty one
        monitoring::sync_directory(staging_);
        monitoring::rename_durably(staging_, target_);
        staging_.clear();
    }

  private:
    void refuse_when_used() const {
        if (!fs::exists(target_)) return;
        if (fs::is_directory(target_) && fs::is_empty(target_)) return;
        throw IoError("cannot write into '{}': expected a new or an empty directory; name another one",
                      target_.string());
    }

    fs::path target_;
    fs::path staging_;
};

// Whole, as fp32 behind what is in `to`; what was read is what was saved.
void read_into(const CheckpointReader& reader, const TensorSpec& spec, const TensorInfo& stored,
               std::vector<float>& to) {
    const checkpoint::Box box = checkpoint::whole(spec.shape);
    std::vector<std::byte> bytes(static_cast<std::size_t>(spec.elements()) * checkpoint::element_bytes(stored.dtype));
    reader.read(stored.id, box, bytes.data());
    const std::uint64_t found = checkpoint::fingerprint({stored, box, bytes.data()});
    if (found != reader.fingerprint_of(stored.id)) {
        throw CheckpointError("tensor {}: expected fingerprint {:016x}, found {:016x}: the checkpoint is damaged",
                              to_string(stored.id), reader.fingerprint_of(stored.id), found);
    }
    const std::size_t begin = to.size();
    to.resize(begin + static_cast<std::size_t>(spec.elements()));
    if (stored.dtype == DType::f32) {
        std::memcpy(to.data() + begin, bytes.data(), bytes.size());
        return;
    }
    for (std::size_t i = 0; begin + i < to.size(); ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, bytes.data() + 2 * i, sizeof(bits));
        to[begin + i] = checkpoint::f32_of_bf16(bits);
    }
}

const TensorInfo& stored_parameter(const CheckpointReader& reader, const TensorSpec& spec) {
    for (const TensorInfo& tensor : reader.tensors()) {
        if (tensor.id.name != spec.name || tensor.id.kind != "param") continue;
        if (tensor.shape != spec.shape || (tensor.dtype != DType::f32 && tensor.dtype != DType::bf16)) {
            throw CheckpointError("tensor {}: expected f32 or bf16 {}, found {} {}", to_string(tensor.id),
                                  checkpoint::to_string(spec.shape), name_of(tensor.dtype),
                                  checkpoint::to_string(tensor.shape));
        }
        return tensor;
    }
    throw CheckpointError("the checkpoint has no parameter '{}', which its run file's model needs", spec.name);
}

std::vector<float> foreign_values(const CheckpointReader& reader, const ForeignTensor& tensor) {
    std::vector<float> values;
    for (const TensorSpec& spec : tensor.ours) read_into(reader, spec, stored_parameter(reader, spec), values);
    return tensor.transposed ? transposed(values, tensor.shape[1], tensor.shape[0]) : values;
}

void append(checkpoint::SafetensorsDirectoryWriter& writer, const std::vector<float>& values, bool bf16) {
    if (!bf16) return writer.append(std::as_bytes(std::span<const float>(values)));
    std::vector<std::uint16_t> rounded;
    rounded.reserve(values.size());
    for (const float value : values) rounded.push_back(checkpoint::bf16_of_f32(value));
    writer.append(std::as_bytes(std::span<const std::uint16_t>(rounded)));
}

ExportResult write_tensors(const Source& source, const ExportOptions& options, const fs::path& directory) {
    const bool bf16 = options.dtype == "bf16";
    const auto tensors = foreign_tensors(source.model.model, source.model.vocabulary, source.model.sequence_length);
    ExportResult result{.step = source.state.step, .tensors = tensors.size()};
    std::vector<SafeTensor> layout;
    for (const ForeignTensor& tensor : tensors) {
        layout.push_back({.name = tensor.name, .dtype = bf16 ? "BF16" : "F32", .shape = tensor.shape});
        result.bytes += static_cast<std::uint64_t>(tensor.elements()) * (bf16 ? 2 : 4);
    }
    // The ecosystem's reader refuses a file that does not name the framework whose layout it has.
    checkpoint::SafetensorsDirectoryWriter writer(directory, layout, options.shard_bytes, {{"format", "pt"}});
    for (const ForeignTensor& tensor : tensors) append(writer, foreign_values(source.reader, tensor), bf16);
    writer.close();
    result.files = writer.files();
    return result;
}

void write_json(const fs::path& file, const nlohmann::ordered_json& content) {
    monitoring::publish(file, content.dump(2) + "\n");
}

void write_descriptions(const Source& source, const ExportOptions& options, const fs::path& directory) {
    const data::Tokenizer& tokenizer = source.tokenizer.tokenizer;
    const std::int64_t end = tokenizer.end_of_document();
    write_json(directory / "config.json",
               foreign_config(source.model, options.dtype == "bf16" ? "bfloat16" : "float32", end));
    write_json(directory / "generation_config.json", {{"bos_token_id", end}, {"eos_token_id", end}});
    const ForeignTokenizer foreign{tokenizer.name(), tokenizer.vocabulary(), end, tokenizer.end_text()};
    write_json(directory / "tokenizer_config.json", foreign_tokenizer_config(foreign, source.model.sequence_length));
    if (tokenizer.has_file())
        monitoring::publish(directory / data::Tokenizer::kept_as(tokenizer.name()), source.tokenizer.file);
    write_json(directory / "kiban.json", {{"format", 1},
                                          {"run", source.run_file.run.name},
                                          {"step", source.state.step},
                                          {"tokens", source.state.tokens},
                                          {"corpus", source.state.data_digest},
                                          {"version", source.state.kiban_version}});
}

}  // namespace

ExportResult export_model(const ExportOptions& options) {
    if (options.dtype != "f32" && options.dtype != "bf16")
        throw UsageError("--dtype '{}': expected f32 or bf16", options.dtype);
    if (options.shard_bytes == 0) throw UsageError("--shard-bytes 0: expected at least 1");
    const ReadingMark mark(options.checkpoint);
    const Source source = open_source(options.checkpoint);
    StagedDirectory staged(options.directory);
    const ExportResult result = write_tensors(source, options, staged.path());
    write_descriptions(source, options, staged.path());
    staged.publish();
    return result;
}

}  // namespace kiban::coordinator
