// SPDX-License-Identifier: Apache-2.0
// kiban pretrain RUN.toml: prepare what is missing, train, survive, finish. --verify-resume K: the resume certificate.
#include "coordinator/run/pretrain.h"

#include <CLI/CLI.hpp>

#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/run_file_options.h"
#include "coordinator/run/replay.h"

namespace kiban::coordinator {

void add_pretrain_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand(
        "pretrain", "prepare what is missing, train, survive, finish; continues a run that has checkpoints");
    auto run_file = std::make_shared<RunFileOptions>(*command);
    auto options = std::make_shared<PretrainOptions>();
    command->add_flag("--fresh", options->fresh,
                      "start over: checkpoints and curve of the run directory are moved aside");
    command->add_flag(
        "--take-over", options->take_over,
        "take the run from a live coordinator that cannot be stopped otherwise: it ends, and its workers");
    auto replayed = std::make_shared<std::uint64_t>(0);
    command
        ->add_option("--verify-resume", *replayed,
                     "train nothing: replay so many steps from a checkpoint of the run and compare them with its curve")
        ->check(CLI::PositiveNumber)
        ->excludes("--fresh")
        ->excludes("--take-over");
    command->callback([run_file, options, replayed, &exit_code] {
        exit_code = *replayed != 0 ? verify_resume(run_file->read(), *replayed) : pretrain(run_file->read(), *options);
    });
}

}  // namespace kiban::coordinator
