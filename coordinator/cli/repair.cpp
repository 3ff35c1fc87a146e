// SPDX-License-Identifier: Apache-2.0
// kiban repair RUN_DIR [--drop]: which checkpoints are damaged; with --drop they are moved out of the way.
#include "checkpoint/repair.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <filesystem>
#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/run/lease.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

struct RepairOptions {
    fs::path run_dir;
    bool drop = false;
};

void refuse_live_run(const RunDirectory& directory) {
    const LeaseOwner owner = lease_owner(directory.root());
    if (!owner.alive) return;
    throw ConfigError("cannot drop checkpoints of '{}': its coordinator, process {}, is alive; stop it first",
                      directory.root().string(), owner.pid);
}

int repair(const RepairOptions& options) {
    const RunDirectory directory = named_run(options.run_dir);
    if (options.drop) refuse_live_run(directory);
    const checkpoint::RepairResult result = checkpoint::repair_checkpoints(directory.root(), options.drop);
    for (const auto& info : result.sound) fmt::print("good  {}\n", info.directory.filename().string());
    bool dropped = true;
    for (const auto& damaged : result.damaged) {
        for (const std::string& fault : damaged.faults)
            fmt::print("BAD   {}: {}\n", damaged.checkpoint.directory.filename().string(), fault);
        if (!damaged.moved_to.empty()) fmt::print("      moved to {}\n", damaged.moved_to.string());
        dropped = dropped && !damaged.moved_to.empty();
    }
    if (result.damaged.empty()) {
        fmt::print("nothing to repair\n");
        return kExitDone;
    }
    if (dropped) return kExitDone;
    if (options.drop) {
        fmt::print("no sound checkpoint would remain: nothing was moved\n");
    } else {
        fmt::print("{} damaged; --drop moves them out of the way\n", result.damaged.size());
    }
    return kExitIo;
}

}  // namespace

void add_repair_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("repair", "which checkpoints of a run are damaged; --drop moves them aside");
    auto options = std::make_shared<RepairOptions>();
    command->add_option("RUN_DIR", options->run_dir, "run directory")->required();
    command->add_flag("--drop", options->drop, "reject damaged ones and move them to ckpt/.damaged");
    command->callback([options, &exit_code] { exit_code = repair(*options); });
}

}  // namespace kiban::coordinator
