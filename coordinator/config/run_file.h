// SPDX-License-Identifier: Apache-2.0
// The run file: TOML in, typed sections out (reference: coordinator/RUN_FILE.md). The same parser reads the resolved
// file in the worker.
//
// Unknown and repeated keys, wrong types and values out of range are ConfigErrors that name the key (with file and
// line), what was expected, what was found, and the nearest known key. After this no string is looked up again.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "checkpoint/config.h"
#include "coordinator/job/model_config.h"
#include "coordinator/job/survive_config.h"
#include "coordinator/job/train_config.h"
#include "data/config.h"
#include "monitoring/config.h"

namespace kiban::coordinator {

struct RunConfig {
    std::string name = "run";
    std::filesystem::path dir;  // run directory; relative to the run file; default runs/NAME
    std::uint64_t seed = 1337;
};

struct RunFile {
    RunConfig run;
    data::DataConfig data;
    ModelConfig model;
    TrainConfig train;
    ParallelConfig parallel;
    checkpoint::CheckpointConfig checkpoint;
    monitoring::MonitoringConfig monitoring;
    LaunchConfig launch;
    SuperviseConfig supervise;
    AnomalyConfig anomaly;
    std::filesystem::path
        base;  // directory of the run file: relative paths start here. Stored in the resolved file as run.base

    std::filesystem::path run_dir() const;      // absolute
    std::filesystem::path corpora_dir() const;  // absolute
};

/// Reads `file`, applies `overrides` ("train.steps=200": the value is TOML, a bare word is taken as a string), checks
/// everything that needs no corpus (validate()). UsageError: an override that is no KEY=VALUE, or a key with two of
/// them.
RunFile read_run_file(const std::filesystem::path& file, const std::vector<std::string>& overrides);
RunFile parse_run_file(const std::string& toml, const std::filesystem::path& base, const std::string& name_for_messages,
                       const std::vector<std::string>& overrides = {});

/// A resolved file that a run was started with, for comparing and reading: keys and types are checked, but not whether
/// the values go together, which an older Kiban judged by its own rules.
RunFile parse_saved_run_file(const std::string& toml, const std::filesystem::path& base,
                             const std::string& name_for_messages);

/// The resolved file: every key with its value, byte-stable, readable by parse_run_file().
std::string to_toml(const RunFile& run_file);

/// Cross-field checks, each naming the numbers: heads divide d_model, kv_heads divide heads, micro-batches tile the
/// batch over the workers, weights, ranges, stages that are not there yet. Fills the zeros that mean "derive"
/// (micro_batch_rows, threads_per_worker, ...).
void validate(RunFile& run_file);

/// Keys whose change between two resolved files forbids a resume (model, data, seed, batch, optimizer...), as "key:
/// saved X, now Y" lines; resumable ones (steps, intervals, monitoring, launch, ...) are not listed.
std::vector<std::string> forbidden_changes(const RunFile& saved, const RunFile& now);
/// All keys that differ, the same way (for the journal).
std::vector<std::string> all_changes(const RunFile& saved, const RunFile& now);

}  // namespace kiban::coordinator
