// SPDX-License-Identifier: Apache-2.0
// kiban pin RUN_DIR --step S [--remove]: a checkpoint that retention never deletes.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "checkpoint/commit.h"
#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

struct PinOptions {
    std::filesystem::path run_dir;
    std::uint64_t step = 0;
    bool remove = false;
};

void pin(const PinOptions& options) {
    const RunDirectory directory = named_run(options.run_dir);
    std::vector<std::string> steps;
    for (const auto& info : checkpoint::list_checkpoints(directory.root())) {
        steps.push_back(std::to_string(info.step));
        if (info.step != options.step) continue;
        checkpoint::pin_checkpoint(directory.root(), info, !options.remove);
        fmt::print("{} is {}\n", info.directory.filename().string(), options.remove ? "no longer pinned" : "pinned");
        return;
    }
    throw UsageError("cannot pin step {} of '{}': it has checkpoints of the steps {}", options.step,
                     directory.root().string(), fmt::join(steps, ", "));
}

}  // namespace

void add_pin_command(CLI::App& app, int& /*exit_code*/) {
    CLI::App* command = app.add_subcommand("pin", "keeps the checkpoint of a step for ever");
    auto options = std::make_shared<PinOptions>();
    command->add_option("RUN_DIR", options->run_dir, "run directory")->required();
    command->add_option("--step", options->step, "of the checkpoint; the newest attempt counts")->required();
    command->add_flag("--remove", options->remove, "let retention have it again");
    command->callback([options] { pin(*options); });
}

}  // namespace kiban::coordinator
