// SPDX-License-Identifier: Apache-2.0
// kiban repair RUN_DIR [--drop]: which checkpoints are damaged; with --drop they are moved out of the way.
#include "checkpoint/repair.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <filesystem>
#include <memory>
#include <optional>

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

void print(const char* what, const checkpoint::DamagedCheckpoint& bad) {
    for (const std::string& fault : bad.faults)
        fmt::print("{}  {}: {}\n", what, bad.checkpoint.directory.filename().string(), fault);
}

int repair(const RepairOptions& options) {
    const RunDirectory directory = named_run(options.run_dir);
    std::optional<Lease> lease;  // nobody else commits, loads or prunes meanwhile, on whatever host
    if (options.drop) lease.emplace(Lease::acquire(directory.root()));
    const checkpoint::RepairResult result = checkpoint::repair_checkpoints(directory.root(), options.drop);
    for (const auto& info : result.sound) fmt::print("good  {}\n", info.directory.filename().string());
    for (const auto& bad : result.unreadable) {
        print("????", bad);
        fmt::print("      it cannot be read now, and is left where it is\n");
    }
    bool dropped = true;
    for (const auto& damaged : result.damaged) {
        print("BAD ", damaged);
        if (!damaged.moved_to.empty()) fmt::print("      moved to {}\n", damaged.moved_to.string());
        dropped = dropped && !damaged.moved_to.empty();
    }
    if (result.damaged.empty() && result.unreadable.empty()) {
        fmt::print("nothing to repair\n");
        return kExitDone;
    }
    if (dropped && result.unreadable.empty()) return kExitDone;
    if (!dropped && options.drop) fmt::print("no sound checkpoint would remain: nothing was moved\n");
    if (!dropped && !options.drop) fmt::print("{} damaged; --drop moves them out of the way\n", result.damaged.size());
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
