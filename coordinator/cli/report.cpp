// SPDX-License-Identifier: Apache-2.0
// kiban report RUN_DIR... -o FILE.html: one self-contained page with plots; several runs compare.
#include "monitoring/report.h"

#include <CLI/CLI.hpp>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <memory>
#include <optional>
#include <set>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"

namespace kiban::coordinator {
namespace {

struct ReportOptions {
    std::vector<std::filesystem::path> run_dirs;
    std::filesystem::path file;
    std::string worker_hour;
};

bool begins_a_unit(const std::string& text) {
    const char first = text.empty() ? ' ' : text.front();
    const bool is_ascii = static_cast<unsigned char>(first) < 0x80;
    const bool is_letter = (first >= 'A' && first <= 'Z') || (first >= 'a' && first <= 'z');
    return !is_ascii || is_letter || first == '$';  // and the signs of other currencies
}

// "2.10 EUR": an amount, a blank, and a word of the reader's own for what it is. Half an understood "2,10 EUR" would be
// another price.
WorkerPrice price_of(const std::string& text) {
    const std::size_t blank = std::min(text.find(' '), text.size());
    WorkerPrice price;
    const auto [end, error] = std::from_chars(text.data(), text.data() + blank, price.amount);
    if (blank < text.size()) price.unit = text.substr(blank + 1);
    const bool is_amount = error == std::errc() && end == text.data() + blank && std::isfinite(price.amount) &&
                           !std::signbit(price.amount);
    if (!is_amount || !begins_a_unit(price.unit) || price.unit.find_first_of(" \t\r\n") != std::string::npos) {
        throw UsageError(
            "--worker-hour '{}': expected an amount with a decimal point, a blank and its unit in one word, such as "
            "'2.10 EUR'",
            text);
    }
    return price;
}

void report(const ReportOptions& options, const std::optional<WorkerPrice>& price) {
    std::vector<monitoring::ReportRun> runs;
    std::set<std::string> names;
    for (const auto& run_dir : options.run_dirs) {
        const RunDirectory directory = named_run(run_dir);
        runs.push_back(report_of(directory, price));
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
    const CLI::Option* worker_hour = command->add_option("--worker-hour", options->worker_hour,
                                                         "what a worker costs for an hour, such as '2.10 EUR'");
    command->callback([options, worker_hour] {
        report(*options, worker_hour->count() > 0 ? std::optional(price_of(options->worker_hour)) : std::nullopt);
    });
}

}  // namespace kiban::coordinator
