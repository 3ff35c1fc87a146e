// SPDX-License-Identifier: Apache-2.0
// kiban generate RUN_DIR --prompt TEXT: text from the run's model, by one worker.
#include <CLI/CLI.hpp>

#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/run/pretrain.h"

namespace kiban::coordinator {

void add_generate_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("generate", "text from a run's model");
    auto run_dir = std::make_shared<std::filesystem::path>();
    auto options = std::make_shared<GenerateOptions>();
    command->add_option("RUN_DIR", *run_dir, "run directory")->required();
    command->add_option("--prompt", options->prompt, "the text to go on with");
    command->add_option("--max-tokens", options->max_tokens, "tokens to add")->capture_default_str();
    command->add_option("--temperature", options->temperature, "0: the likeliest token each time")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command->add_option("--top-k", options->top_k, "only among the K likeliest tokens; 0: all")
        ->check(CLI::NonNegativeNumber)
        ->capture_default_str();
    command->add_option("--seed", options->seed, "of the sampling")->capture_default_str();
    command->add_option("--checkpoint", options->checkpoint, "a checkpoint directory; the newest good one by default");
    command->callback([run_dir, options, &exit_code] { exit_code = generate(*run_dir, *options); });
}

}  // namespace kiban::coordinator
