// SPDX-License-Identifier: Apache-2.0
// kiban pretrain RUN.toml: prepare what is missing, train, survive, finish.
#include "coordinator/run/pretrain.h"

#include <CLI/CLI.hpp>

#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/run_file_options.h"

namespace kiban::coordinator {

void add_pretrain_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand(
        "pretrain", "prepare what is missing, train, survive, finish; continues a run that has checkpoints");
    auto run_file = std::make_shared<RunFileOptions>(*command);
    auto options = std::make_shared<PretrainOptions>();
    command->add_flag("--fresh", options->fresh,
                      "start over: checkpoints and curve of the run directory are moved aside");
    command->callback([run_file, options, &exit_code] { exit_code = pretrain(run_file->read(), *options); });
}

}  // namespace kiban::coordinator
