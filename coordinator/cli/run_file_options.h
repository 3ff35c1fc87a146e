// SPDX-License-Identifier: Apache-2.0
// The arguments that pretrain, plan, prepare and submit share: RUN.toml, --workers, --run-dir, --set.
#pragma once

#include <CLI/CLI.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/config/run_file.h"

namespace kiban::coordinator {

class RunFileOptions {
  public:
    explicit RunFileOptions(CLI::App& command) {
        command.add_option("RUN.toml", file_, "the run file")->required();
        command.add_option("--workers", workers_, "number of workers (launch.workers)");
        command.add_option("--run-dir", run_dir_, "run directory (run.dir)");
        command
            .add_option("--set", settings_,
                        "a key of the run file, such as train.steps=200; may be given several times")
            ->expected(1)
            ->allow_extra_args(false)  // else it takes the -- that ends the options
            ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    }

    const std::filesystem::path& file() const { return file_; }
    /// ConfigError as read_run_file().
    RunFile read() const { return read_run_file(file_, overrides()); }

    std::vector<std::string> overrides() const {
        std::vector<std::string> all = settings_;
        if (workers_ != 0) all.push_back("launch.workers=" + std::to_string(workers_));
        // As a bare word: an absolute path is no TOML value, so nothing in it is taken for a quote or an escape.
        if (!run_dir_.empty()) all.push_back("run.dir=" + std::filesystem::absolute(run_dir_).string());
        return all;
    }

  private:
    std::filesystem::path file_;
    int workers_ = 0;
    std::filesystem::path run_dir_;
    std::vector<std::string> settings_;
};

}  // namespace kiban::coordinator
