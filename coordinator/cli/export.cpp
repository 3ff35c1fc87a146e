// SPDX-License-Identifier: Apache-2.0
// kiban export RUN_DIR|CHECKPOINT --format safetensors -o DIR: a model's weights in the ecosystem's form.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <memory>
#include <string>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/interchange_commands.h"
#include "coordinator/cli/named_run.h"
#include "coordinator/cli/readable.h"
#include "coordinator/run/export_model.h"
#include "coordinator/run/good_checkpoint.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

struct ExportArguments {
    std::filesystem::path source;
    std::string format = "safetensors";
    ExportOptions options;
};

void run_export(ExportArguments arguments) {
    if (arguments.format != "safetensors")
        throw UsageError("--format '{}': expected safetensors, the only one there is", arguments.format);
    arguments.options.checkpoint = is_checkpoint(arguments.source)
                                       ? arguments.source
                                       : good_checkpoint(named_run(arguments.source).root(), "export");
    const ExportResult result = export_model(arguments.options);
    fmt::print("exported step {} to {}: {} tensors, {} in {} file{}\n", result.step,
               arguments.options.directory.string(), result.tensors, bytes_text(result.bytes), result.files,
               result.files == 1 ? "" : "s");
}

}  // namespace

void add_export_command(CLI::App& app, int&) {
    CLI::App* command = app.add_subcommand(
        "export", "a checkpoint's weights as safetensors, config.json and so on, for other programs");
    auto arguments = std::make_shared<ExportArguments>();
    command->add_option("PATH", arguments->source, "run directory (its newest good checkpoint) or checkpoint directory")
        ->required();
    command->add_option("-o,--output", arguments->options.directory, "a new directory")->required();
    command->add_option("--format", arguments->format, "safetensors")->capture_default_str();
    command->add_option("--dtype", arguments->options.dtype, "f32, or bf16: rounded to the nearest")
        ->capture_default_str();
    command->add_option("--shard-bytes", arguments->options.shard_bytes, "of tensors in one file at most")
        ->capture_default_str();
    command->callback([arguments] { run_export(*arguments); });
}

}  // namespace kiban::coordinator
