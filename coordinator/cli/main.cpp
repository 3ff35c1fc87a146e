// SPDX-License-Identifier: Apache-2.0
// `kiban`: parses the command line, runs one command, turns its exception into a message and an exit code
// (slurm/README.md).
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <exception>
#include <string>
#include <vector>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/interchange_commands.h"
#include "coordinator/config/nearest.h"
#include "coordinator/job/version.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

// In the order of --help.
void add_commands(CLI::App& app, int& exit_code) {
    add_pretrain_command(app, exit_code);
    add_plan_command(app, exit_code);
    add_prepare_command(app, exit_code);
    add_status_command(app, exit_code);
    add_curve_command(app, exit_code);
    add_report_command(app, exit_code);
    add_expose_command(app, exit_code);
    add_verify_command(app, exit_code);
    add_repair_command(app, exit_code);
    add_pin_command(app, exit_code);
    add_audit_command(app, exit_code);
    add_reveal_command(app, exit_code);
    add_trace_command(app, exit_code);
    add_rows_command(app, exit_code);
    add_inspect_command(app, exit_code);
    add_generate_command(app, exit_code);
    add_export_command(app, exit_code);
    add_import_command(app, exit_code);
    add_ask_commands(app, exit_code);
    add_fork_command(app, exit_code);
    add_submit_command(app, exit_code);
    add_doctor_command(app, exit_code);
    add_exec_worker_command(app, exit_code);
}

std::string complaint(const CLI::App& app, const CLI::ParseError& error, const std::string& first_word) {
    std::vector<std::string> commands;
    for (const CLI::App* command : app.get_subcommands([](const CLI::App* any) { return !any->get_group().empty(); })) {
        commands.push_back(command->get_name());
    }
    const bool is_command = std::find(commands.begin(), commands.end(), first_word) != commands.end();
    if (is_command || first_word.empty() || first_word.front() == '-') return error.what();
    return fmt::format("there is no command '{}'; did you mean '{}'?", first_word, nearest(first_word, commands));
}

// --help and --version also arrive as exceptions, with code 0.
int report_parse_result(const CLI::App& app, const CLI::ParseError& error, const std::string& first_word) {
    if (error.get_exit_code() == static_cast<int>(CLI::ExitCodes::Success)) return app.exit(error);
    std::fprintf(stderr, "kiban: %s; see kiban --help\n", complaint(app, error, first_word).c_str());
    return kExitUsage;
}

int run(int argc, char** argv) {
    int exit_code = kExitDone;
    CLI::App app("Kiban pretrains foundation models on MPI workers.", "kiban");
    app.set_version_flag("--version", std::string("kiban ") + version());
    app.require_subcommand(1);
    app.failure_message(CLI::FailureMessage::simple);
    add_commands(app, exit_code);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return report_parse_result(app, error, argc > 1 ? argv[1] : "");
    } catch (const std::exception& error) {
        std::fprintf(stderr, "kiban: %s: %s\n", type_name_of(error), error.what());
        return exit_code_of(error);
    }
    return exit_code;
}

}  // namespace
}  // namespace kiban::coordinator

int main(int argc, char** argv) { return kiban::coordinator::run(argc, argv); }
