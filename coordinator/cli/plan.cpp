// SPDX-License-Identifier: Apache-2.0
// kiban plan RUN.toml: parameters, memory, arithmetic and traffic of a worker, without starting one.
#include "coordinator/job/plan.h"

#include <CLI/CLI.hpp>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <array>
#include <cstdio>
#include <memory>
#include <string>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/readable.h"
#include "coordinator/cli/run_file_options.h"
#include "coordinator/config/vocabulary.h"

namespace kiban::coordinator {
namespace {

using Json = nlohmann::ordered_json;

PlanInput input_of(const RunFile& file) {
    return {.model = file.model,
            .vocabulary = vocabulary_of(file),
            .sequence_length = file.data.sequence_length,
            .train = file.train,
            .parallel = file.parallel,
            .workers = file.launch.workers,
            .threads_per_worker = file.launch.threads_per_worker};
}

const char* zero_text(int stage) {
    constexpr std::array kTexts = {"every worker holds all", "optimizer state is shared out",
                                   "optimizer state and gradients are shared out",
                                   "optimizer state, gradients and weights are shared out"};
    return kTexts.at(static_cast<std::size_t>(stage));
}

const char* recomputed_text(ActivationCheckpointing how) {
    switch (how) {
        case ActivationCheckpointing::none: return "nothing is recomputed";
        case ActivationCheckpointing::selective: return "the second half of every block is recomputed";
        case ActivationCheckpointing::full: return "every block is recomputed";
    }
    return "";
}

std::string layout_text(const Plan& plan) {
    const std::string replicas =
        plan.replicate == 1 ? "" : fmt::format(" ({} replicas of {})", plan.replicate, plan.data / plan.replicate);
    return fmt::format("{} workers = data {}{} x pipeline {} x tensor {}; ZeRO {}: {}", plan.workers, plan.data,
                       replicas, plan.pipeline, plan.tensor, plan.zero, zero_text(plan.zero));
}

std::string flops_text(double flops) { return fmt::format("{:.4g} GFLOP", flops / 1e9); }

std::string layers_text(const checkpoint::Part& layers) {
    return layers.size() == 1 ? fmt::format("{}", layers.begin) : fmt::format("{}-{}", layers.begin, layers.end - 1);
}

std::string model_text(const RunFile& file, const Plan& plan) {
    const ModelConfig& model = file.model;
    std::string out = fmt::format("model    {} {}x{}, {} parameters, {} outside the embeddings\n",
                                  model.layout == ModelLayout::gpt2 ? "gpt2" : "llama", model.layers, model.d_model,
                                  count_text(plan.size.total), count_text(plan.size.non_embedding));
    out += fmt::format("layout   {}\n", layout_text(plan));
    out += fmt::format("step     {} tokens; each worker {} micro-batches of {} rows; {}\n", count_text(plan.tokens),
                       plan.micro_batches, plan.micro_batch_rows, recomputed_text(file.train.activation_checkpointing));
    out += fmt::format("         {}, and {} recomputed, over all workers\n", flops_text(plan.model_flops()),
                       flops_text(plan.recomputed_flops()));
    return out;
}

std::string memory_text(const Plan& plan) {
    std::string out =
        fmt::format("\nmemory of one worker of each pipeline stage, at its peak\n{:>5} {:>7}", "stage", "layers");
    for (const char* kind :
         {"weights", "gradients", "optimizer", "activations", "working", "buffers", "process", "sum"})
        out += fmt::format(" {:>11}", kind);
    out += '\n';
    for (const StagePlan& stage : plan.stages) {
        const MemoryPlan& memory = stage.memory;
        out += fmt::format("{:>5} {:>7}", stage.stage, layers_text(stage.layers));
        for (const std::uint64_t bytes : {memory.weights, memory.gradients, memory.optimizer, memory.activations,
                                          memory.working, memory.buffers(), memory.process, memory.total()})
            out += fmt::format(" {:>11}", bytes_text(bytes));
        out += '\n';
    }
    const StagePlan& largest = plan.largest();
    return out + fmt::format("      the largest, of stage {}: {}, with {} micro-batches under way\n", largest.stage,
                             bytes_text(largest.memory.total()), largest.under_way);
}

std::string work_text(const StagePlan& stage) {
    std::string out = fmt::format("\nstage {}: {} parameters here; a step of one worker: {}, {} recomputed; sends {}\n",
                                  stage.stage, count_text(stage.parameters), flops_text(stage.model_flops),
                                  flops_text(stage.recomputed_flops), bytes_text(stage.sent_bytes()));
    for (const TrafficPlan& row : stage.traffic)
        out += fmt::format("  {:<8} {:<14} {:>8} calls {:>10}  {}\n", row.group, row.operation, count_text(row.calls),
                           bytes_text(row.bytes), row.what);
    return out;
}

Json json_of(const MemoryPlan& memory) {
    return {{"weights", memory.weights},
            {"gradients", memory.gradients},
            {"optimizer", memory.optimizer},
            {"activations", memory.activations},
            {"working", memory.working},
            {"buffers",
             {{"buckets", memory.buckets},
              {"tree", memory.tree},
              {"muon", memory.muon},
              {"windows", memory.windows},
              {"rows", memory.rows},
              {"sum", memory.buffers()}}},
            {"process", memory.process},
            {"sum", memory.total()}};
}

Json json_of(const StagePlan& stage) {
    Json traffic = Json::array();
    for (const TrafficPlan& row : stage.traffic)
        traffic.push_back({{"group", row.group},
                           {"operation", row.operation},
                           {"what", row.what},
                           {"calls", row.calls},
                           {"bytes", row.bytes}});
    return {{"stage", stage.stage},
            {"first_layer", stage.layers.begin},
            {"layers", stage.layers.size()},
            {"parameters", stage.parameters},
            {"micro_batches_under_way", stage.under_way},
            {"memory_bytes", json_of(stage.memory)},
            {"model_flops", stage.model_flops},
            {"recomputed_flops", stage.recomputed_flops},
            {"sent_bytes", stage.sent_bytes()},
            {"traffic", traffic}};
}

Json json_of(const Plan& plan) {
    Json stages = Json::array();
    for (const StagePlan& stage : plan.stages) stages.push_back(json_of(stage));
    return {{"parameters", plan.size.total},
            {"non_embedding_parameters", plan.size.non_embedding},
            {"flops_per_token", plan.size.flops_per_token},
            {"layout",
             {{"workers", plan.workers},
              {"data", plan.data},
              {"pipeline", plan.pipeline},
              {"tensor", plan.tensor},
              {"zero", plan.zero},
              {"replicate", plan.replicate},
              {"text", layout_text(plan)}}},
            {"tokens", plan.tokens},
            {"micro_batches", plan.micro_batches},
            {"micro_batch_rows", plan.micro_batch_rows},
            {"model_flops", plan.model_flops()},
            {"recomputed_flops", plan.recomputed_flops()},
            {"peak_bytes", plan.largest().memory.total()},
            {"largest_stage", plan.largest().stage},
            {"stages", stages}};
}

void show(const RunFile& file, bool json) {
    const Plan plan = plan_of(input_of(file));
    if (json) {
        fmt::print("{}\n", json_of(plan).dump(2));
        return;
    }
    std::string text = model_text(file, plan) + memory_text(plan);
    for (const StagePlan& stage : plan.stages) text += work_text(stage);
    std::fputs(text.c_str(), stdout);
}

}  // namespace

void add_plan_command(CLI::App& app, int& /*exit_code*/) {
    CLI::App* command =
        app.add_subcommand("plan", "parameters, memory, arithmetic and traffic of the workers, without starting one");
    auto run_file = std::make_shared<RunFileOptions>(*command);
    auto json = std::make_shared<bool>(false);
    command->add_flag("--json", *json, "as JSON; bytes and FLOPs as plain numbers");
    command->callback([run_file, json] { show(run_file->read(), *json); });
}

}  // namespace kiban::coordinator
