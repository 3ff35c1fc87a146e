// SPDX-License-Identifier: Apache-2.0
// kiban prepare RUN.toml: corpora into token shards and a manifest, only.
#include <CLI/CLI.hpp>

#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/run_file_options.h"
#include "coordinator/run/pretrain.h"

namespace kiban::coordinator {

void add_prepare_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("prepare", "corpora into token shards and a manifest, only");
    auto run_file = std::make_shared<RunFileOptions>(*command);
    command->callback([run_file, &exit_code] { exit_code = prepare(run_file->read()); });
}

}  // namespace kiban::coordinator
