// SPDX-License-Identifier: Apache-2.0
// What `kiban import` reads: a directory in the ecosystem's form, checked against the model that its config.json
// describes before anything is written. Internal to import_model.cpp.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/safetensors_directory.h"
#include "coordinator/config/run_file.h"
#include "coordinator/job/interchange.h"
#include "coordinator/job/interchange_config.h"

namespace kiban::coordinator {

class ImportSource {
  public:
    /// Reads config.json and the headers of the tensor files.
    explicit ImportSource(const std::filesystem::path& directory);

    const ForeignModel& model() const { return model_; }
    /// The model's tokenizer.json, or its tokenizer.model where it has none; there when a run file that passed
    /// check_run_file() names one.
    std::filesystem::path tokenizer_file() const;
    /// What the files say, as defaults of a run file.
    std::vector<std::string> run_file_defaults() const;
    /// ConfigError naming the first key in which the run file differs from the model, or when its tokenizer gives ids
    /// another meaning than the model's.
    void check_run_file(const RunFile& run_file, const std::string& name) const;
    /// The model's tensors, all of which are there with the right shape and a dtype that can be read. ConfigError lists
    /// what is missing, unknown or different.
    std::vector<ForeignTensor> checked_tensors();
    /// As fp32, in the ecosystem's order of elements.
    std::vector<float> values_of(const ForeignTensor& tensor) const;
    const std::vector<std::string>& notes() const { return notes_; }

  private:
    const checkpoint::SafeTensor* find(const std::string& name) const;
    const checkpoint::SafeTensor& stored(const ForeignTensor& tensor) const;
    void check_tied_head(const ForeignTensor& embedding);
    void check_tokenizer(const RunFile& run_file) const;
    void check_tokenizer_file(const RunFile& run_file) const;
    void note_tied_llama();

    std::filesystem::path directory_;
    ForeignModel model_;
    checkpoint::SafetensorsDirectory tensors_;
    bool bare_ = false;  // names without the prefix of the model with a head
    std::vector<std::string> notes_;
};

}  // namespace kiban::coordinator
