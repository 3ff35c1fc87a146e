// SPDX-License-Identifier: Apache-2.0
// kiban import DIR -o RUN_DIR: a model in the ecosystem's form as a new run, whose training goes on from its weights.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/interchange_commands.h"
#include "coordinator/run/import_model.h"

namespace kiban::coordinator {

void add_import_command(CLI::App& app, int&) {
    CLI::App* command = app.add_subcommand(
        "import", "a model of the Llama or GPT-2 family (config.json, safetensors) as a new run to be continued");
    auto options = std::make_shared<ImportOptions>();
    command->add_option("DIR", options->directory, "directory with config.json and model.safetensors")->required();
    command->add_option("-o,--output", options->run_dir, "a new run directory")->required();
    command->add_option("--config", options->run_file, "run file with all that is not of the model: data, train, ...");
    command->add_option("--set", options->settings, "a key of the run file, such as data.sources.0.path=text.txt")
        ->expected(1)
        ->allow_extra_args(false)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    command->callback([options] {
        const ImportResult result = import_model(*options);
        for (const std::string& note : result.notes) fmt::print("note: {}\n", note);
        fmt::print("imported {}: {} tensors, {} parameters, as step 0 of {}\n", result.model, result.tensors,
                   result.parameters, options->run_dir.string());
        fmt::print("continue it with: kiban pretrain {}\n", result.run_file.string());
    });
}

}  // namespace kiban::coordinator
