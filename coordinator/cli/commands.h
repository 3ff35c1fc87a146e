// SPDX-License-Identifier: Apache-2.0
// The commands of `kiban`: one file each, cli/NAME.cpp (save, stop, extend and
// set and trace-steps: ask.cpp), which defines the add_NAME_command() declared here.
//
// It adds a subcommand whose callback does the work and sets `exit_code` (which outlives `app` and starts at 0) unless
// that is 0. A callback throws Kiban's errors; main.cpp prints them and turns them into the exit code. One thread.
#pragma once

namespace CLI {
class App;
}

namespace kiban::coordinator {

void add_pretrain_command(CLI::App& app, int& exit_code);
void add_plan_command(CLI::App& app, int& exit_code);
void add_prepare_command(CLI::App& app, int& exit_code);
void add_status_command(CLI::App& app, int& exit_code);
void add_curve_command(CLI::App& app, int& exit_code);
void add_report_command(CLI::App& app, int& exit_code);
void add_expose_command(CLI::App& app, int& exit_code);
void add_verify_command(CLI::App& app, int& exit_code);
void add_repair_command(CLI::App& app, int& exit_code);
void add_pin_command(CLI::App& app, int& exit_code);
void add_audit_command(CLI::App& app, int& exit_code);
void add_reveal_command(CLI::App& app, int& exit_code);
void add_trace_command(CLI::App& app, int& exit_code);
void add_rows_command(CLI::App& app, int& exit_code);
void add_inspect_command(CLI::App& app, int& exit_code);
void add_generate_command(CLI::App& app, int& exit_code);
void add_ask_commands(CLI::App& app, int& exit_code);  // save, stop, extend, set, trace-steps
void add_fork_command(CLI::App& app, int& exit_code);
void add_submit_command(CLI::App& app, int& exit_code);
void add_doctor_command(CLI::App& app, int& exit_code);
void add_exec_worker_command(CLI::App& app, int& exit_code);  // hidden: how a rank starts

}  // namespace kiban::coordinator
