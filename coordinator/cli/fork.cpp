// SPDX-License-Identifier: Apache-2.0
// kiban fork RUN_DIR --step S [--run-dir NEW] [--set KEY=VALUE ...]: a new run from a checkpoint.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/run/fork_run.h"

namespace kiban::coordinator {
namespace {

void fork_named(ForkOptions options) {
    options.parent = named_run(options.parent).root();
    const ForkResult result = fork_run(options);
    for (const std::string& change : result.changes) fmt::print("{}\n", change);
    if (result.other_rows) fmt::print("its rows are others than the parent's: they begin with their first one\n");
    fmt::print("forked step {} of {}, with {} steps of its curve: {}\n", result.step, options.parent.string(),
               result.curve_rows, result.checkpoint.string());
    fmt::print("continue it with: kiban pretrain {}\n", result.run_file.string());
}

}  // namespace

void add_fork_command(CLI::App& app, int&) {
    CLI::App* command = app.add_subcommand("fork", "a new run that goes on from a checkpoint, with other settings");
    auto options = std::make_shared<ForkOptions>();
    command->add_option("RUN_DIR", options->parent, "the run to fork; it is only read")->required();
    command->add_option("--step", options->step, "the step of the checkpoint; left out: the newest good one");
    command->add_option("--run-dir", options->run_dir, "a new run directory; left out: RUN_DIR-fork-STEP");
    command->add_option("--set", options->settings, "a key of the run file, such as train.optimizer.learning_rate=1e-4")
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    command->callback([options] { fork_named(*options); });
}

}  // namespace kiban::coordinator
