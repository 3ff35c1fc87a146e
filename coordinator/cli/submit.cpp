// SPDX-License-Identifier: Apache-2.0
// kiban submit RUN.toml [-- sbatch options]: writes the batch script into the run directory and gives it to Slurm;
// prints the job id.
#include "coordinator/launch/submit.h"

#include <CLI/CLI.hpp>

#include <memory>
#include <string>
#include <vector>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/run_file_options.h"
#include "coordinator/launch/launch_facts.h"
#include "monitoring/error.h"

namespace kiban::coordinator {

void add_submit_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("submit", "give the run to Slurm; options after -- are sbatch's");
    auto run_file = std::make_shared<RunFileOptions>(*command);
    auto nodes = std::make_shared<int>(1);
    auto sbatch_options = std::make_shared<std::vector<std::string>>();
    command->add_option("--nodes", *nodes, "number of nodes")->check(CLI::PositiveNumber)->capture_default_str();
    command->add_option("OPTIONS", *sbatch_options, "sbatch options, after --");
    command->callback([run_file, nodes, sbatch_options, &exit_code] {
        const RunFile resolved = run_file->read();
        const Submission submission = {
            .run_dir = resolved.run_dir(),
            .run_file = std::filesystem::absolute(run_file->file()),
            .overrides = run_file->overrides(),
            .name = resolved.run.name,
            .nodes = *nodes,
            .workers = resolved.launch.workers,
            // The CPUs of the machine that submits say nothing about those that will train.
            .threads_per_worker = resolved.launch.threads_derived ? 0 : resolved.launch.threads_per_worker,
            .sbatch_options = *sbatch_options};
        const auto fault = fault_of_interface(resolved.launch.control_interface, most_nodes(submission));
        if (!fault.empty()) throw ConfigError("{}, such as --set launch.control_interface=ib0", fault);
        exit_code = submit(submission);
    });
}

}  // namespace kiban::coordinator
