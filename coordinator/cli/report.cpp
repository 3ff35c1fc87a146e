// SPDX-License-Identifier: Apache-2.0
// kiban report RUN_DIR... -o FILE.html: one self-contained page with plots; several runs compare.
#include "monitoring/report.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>
#include <set>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"

namespace kiban::coordinator {
namespace {

struct ReportOptions {
    std::vector<std::filesystem::path> run_dirs;
    std::filesystem::path file;
};

void report(const ReportOptions& options) {
    std::vector<monitoring::ReportRun> runs;
    std::set<std::string> names;
    for (const auto& run_dir : options.run_dirs) {
        const RunDirectory directory = named_run(run_dir);
        runs.push_back(report_of(directory));
        // Two runs of one name are told apart by their directories.
        if (!names.insert(runs.back().name).second) runs.back().name += " (" + directory.root().string() + ")";
    }
    monitoring::write_report(options.file, runs);
    std::printf("%s\n", options.file.c_str());
}

}  // namespace

void add_report_command(CLI::App& app, int& /*exit_code*/) {
    CLI::App* command = app.add_subcommand("report", "one self-contained HTML page with plots; several runs compare");
    auto options = std::make_shared<ReportOptions>();
    command->add_option("RUN_DIR", options->run_dirs, "run directories")->required();
    command->add_option("-o,--output", options->file, "the page to write")->required();
    command->callback([options] { report(*options); });
}

}  // namespace kiban::coordinator
