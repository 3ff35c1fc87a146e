// SPDX-License-Identifier: Apache-2.0
// kiban report RUN_DIR... -o FILE.html: one self-contained page with plots; several runs compare.
#include "monitoring/report.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>
#include <set>
#include <sstream>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"

namespace kiban::coordinator {
namespace {

struct ReportOptions {
    std::vector<std::filesystem::path> run_dirs;
    std::filesystem::path file;
    std::string price;
};

// "2.10 EUR": an amount, and a word of the reader's own for what it is.
std::optional<WorkerPrice> price_of(const std::string& text) {
    if (text.empty()) return std::nullopt;
    WorkerPrice price;
    std::istringstream in(text);
    if (!(in >> price.amount) || price.amount < 0) {
        throw UsageError("--worker-hour '{}': expected an amount and its unit, such as '2.10 EUR'", text);
    }
    in >> price.unit;
    return price;
}

void report(const ReportOptions& options) {
    std::vector<monitoring::ReportRun> runs;
    std::set<std::string> names;
    for (const auto& run_dir : options.run_dirs) {
        const RunDirectory directory = named_run(run_dir);
        runs.push_back(report_of(directory, price_of(options.price)));
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
    command->add_option("--worker-hour", options->price, "what a worker costs for an hour, such as '2.10 EUR'");
    command->callback([options] { report(*options); });
}

}  // namespace kiban::coordinator
