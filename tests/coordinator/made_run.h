// SPDX-License-Identifier: Apache-2.0
// A finished run directory made by the real writers, without workers: corpus, run file, curve, journal, two
// checkpoints. One thread.
#pragma once

#include <filesystem>
#include <string>

namespace kiban::coordinator {

class MadeRun {
  public:
    static constexpr std::uint64_t kSteps = 20;

    /// In a new directory under the system's temporary one, removed by the destructor.
    explicit MadeRun(const std::string& name = "made");
    ~MadeRun();
    MadeRun(const MadeRun&) = delete;
    MadeRun& operator=(const MadeRun&) = delete;

    std::filesystem::path root;               // of everything
    std::filesystem::path run_dir;            // root/runs/NAME
    std::filesystem::path manifest;           // of the corpus
    std::filesystem::path token_shard;        // its only shard
    std::filesystem::path older_checkpoint;   // step 10
    std::filesystem::path newest_checkpoint;  // step 20
    std::string text;                         // the corpus
};

/// Adds 1 to the byte at `offset` of `file` (from the end when negative).
void damage(const std::filesystem::path& file, std::int64_t offset);

}  // namespace kiban::coordinator
