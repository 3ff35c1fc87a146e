// SPDX-License-Identifier: Apache-2.0
// Corpus preparation as tasks: the coordinator holds a Preparation and hands tasks out; whoever runs one calls
// run_task().
//
// Tasks come in waves: the runs of words of evaluation files, when there are some; when a tokenizer is to be trained,
// `count` the words of each work unit (a byte range of a file, or several small files), then `train`; then `tokenize`
// each unit into a staged token file, when duplicates are to go, `dedupe` by identity, and `band` and `cluster` by
// nearness; then `shard`: gather units into one HDF5 shard. Everything is keyed by unit, never by worker, so the shards
// are the same bytes for any number of workers. Killed at any moment, a later Preparation continues from what is
// durable.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "data/config.h"
#include "data/manifest.h"

namespace kiban::data {

struct PrepareProgress {
    std::uint64_t tasks_done = 0;
    std::uint64_t tasks_total = 0;
    std::uint64_t input_bytes_done = 0;
    std::uint64_t input_bytes_total = 0;
    std::uint64_t documents = 0;
    std::uint64_t tokens = 0;
};

class Preparation {
  public:
    /// Finds the input files (paths relative to `base`) and where the corpus belongs below `corpora_dir`.
    /// DataError: a path that matches nothing, an empty corpus; ConfigError: a tokenizer that is not there.
    Preparation(const DataConfig& config, const std::filesystem::path& base, const std::filesystem::path& corpora_dir);
    ~Preparation();

    /// True when the manifest is published: nothing is left to do.
    bool finished() const;
    /// A task nobody has, as JSON with an "id"; nullopt when all are handed out (wait for complete()) or none is left.
    std::optional<nlohmann::json> next_task();
    /// The result of run_task() for task `id`. When the last one is in, publishes the manifest; after an IoError
    /// next_task() tries that anew.
    void complete(std::uint64_t id, const nlohmann::json& result);
    /// The worker that had it is gone: hand it out again.
    void give_back(std::uint64_t id);
    PrepareProgress progress() const;
    std::filesystem::path manifest_file() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Does one task; the result goes to Preparation::complete(). Idempotent: what it writes is published atomically.
/// DataError names the file and offset of bad input; IoError a full disk, with nothing half-written visible.
nlohmann::json run_task(const nlohmann::json& task);

/// All tasks in this process, one after another (tests, and machines without workers).
Manifest prepare_here(const DataConfig& config, const std::filesystem::path& base,
                      const std::filesystem::path& corpora_dir);

}  // namespace kiban::data
