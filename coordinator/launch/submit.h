// SPDX-License-Identifier: Apache-2.0
// Gives a run to Slurm: the batch script of slurm/kiban.sbatch, with the run file's numbers on sbatch's command line.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kiban::coordinator {

struct Submission {
    std::filesystem::path run_dir;   // gets the script and the job's output
    std::filesystem::path run_file;  // absolute
    std::vector<std::string> overrides;
    std::string name;
    int nodes = 1;
    int workers = 1;
    int threads_per_worker = 0;               // 0: not said; the job's own share decides inside of it
    std::vector<std::string> sbatch_options;  // the user's: they come last and so win
};

/// That the job may get: as the last of its sbatch options that says so (--nodes=2-4: 4), else `nodes`. Pure.
int most_nodes(const Submission& submission);

/// sbatch's command line. Pure.
std::vector<std::string> submit_arguments(const Submission& submission, const std::filesystem::path& script);

/// Writes RUN/kiban.sbatch and runs sbatch, which prints the job id. Returns its exit code; ConfigError when there is
/// no sbatch.
int submit(const Submission& submission);

}  // namespace kiban::coordinator
