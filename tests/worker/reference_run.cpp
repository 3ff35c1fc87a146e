// SPDX-License-Identifier: Apache-2.0
// reference_run CASE DIRECTORY: runs one case of the model and writes what went in and what came out, for
// reference_check.py.
//
// Cases: gpt2, llama (logits and gradients over several micro-batches, masked targets); zloss-gpt2 (the same with a
// z-loss); bf16-gpt2, bf16-llama, bf16-train-... (the same in bf16); train-gpt2, train-llama (100 steps of AdamW on
// text); adamw, muon (updates from given gradients).
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <exception>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "worker/kernels/adamw.h"
#include "worker/kernels/muon.h"
#include "worker/model/initial_values.h"
#include "worker/model/parameters.h"
#include "worker/model/transformer.h"

namespace kiban::worker {
namespace {

using coordinator::ModelConfig;
using coordinator::ModelLayout;

struct Case {
    ModelConfig config;
    std::int64_t vocabulary = 0;
    std::int64_t tokens = 0;  // per row
    std::int64_t rows = 0;    // of a micro-batch
    std::int64_t micro_batches = 0;
    double z_loss = 0;
    bool documents = false;  // several in a row, which see each other not
    Precision precision = Precision::fp32;
};

ModelConfig shape(ModelLayout layout, std::int64_t layers, std::int64_t d_model, std::int64_t heads,
                  std::int64_t kv_heads) {
    ModelConfig config;
    config.layout = layout;
    config.layers = layers;
    config.d_model = d_model;
    config.heads = heads;
    config.kv_heads = kv_heads;
    return config;
}

Case case_called(const std::string& name) {
    if (name.starts_with("bf16-")) {
        Case run = case_called(name.substr(5));
        run.precision = Precision::bf16;
        return run;
    }
    if (name.starts_with("documents-")) {
        Case run = case_called(name.substr(10));
        run.documents = true;
        run.config.attention = coordinator::AttentionScope::document;
        return run;
    }
    // 150 tokens are three attention tiles, the last one partial; 301 words leave a remainder in every vector loop.
    if (name == "gpt2") return {shape(ModelLayout::gpt2, 2, 48, 3, 0), 301, 150, 3, 3};
    if (name == "llama") return {shape(ModelLayout::llama, 2, 48, 6, 2), 301, 150, 3, 3};
    if (name == "zloss-gpt2") return {shape(ModelLayout::gpt2, 2, 48, 3, 0), 301, 150, 3, 3, 0.02};
    if (name == "train-gpt2") return {shape(ModelLayout::gpt2, 3, 64, 4, 0), 256, 64, 4, 2};
    if (name == "train-llama") return {shape(ModelLayout::llama, 3, 64, 4, 2), 256, 64, 4, 2};
    throw UsageError(
        "reference_run: unknown case '{}'; known: gpt2, llama, zloss-gpt2, train-gpt2, train-llama, documents-gpt2, "
        "documents-llama, "
        "bf16-... of these, "
        "adamw, muon",
        name);
}

class Output {
  public:
    explicit Output(std::filesystem::path directory) : directory_(std::move(directory)) {}

    template <typename Value>
    void write(const std::string& name, const Value* values, std::size_t count) const {
        std::ofstream file(directory_ / name, std::ios::binary);
        file.write(reinterpret_cast<const char*>(values), static_cast<std::streamsize>(count * sizeof(Value)));
        KIBAN_CHECK(file.good(), "write {}: failed", (directory_ / name).string());
    }

    void write_json(const nlohmann::json& json) const {
        const std::string text = json.dump(1);
        write("case.json", text.data(), text.size());
    }

  private:
    std::filesystem::path directory_;
};

nlohmann::json describe(const Case& run, const Parameters& parameters) {
    nlohmann::json json = {{"layout", run.config.layout == ModelLayout::gpt2 ? "gpt2" : "llama"},
                           {"layers", run.config.layers},
                           {"heads", run.config.heads},
                           {"kv_heads", run.config.resolved_kv_heads()},
                           {"norm_epsilon", run.config.norm_epsilon},
                           {"rope_theta", run.config.rope_theta},
                           {"vocabulary", run.vocabulary},
                           {"tokens", run.tokens},
                           {"rows", run.rows},
                           {"micro_batches", run.micro_batches},
                           {"z_loss", run.z_loss},
                           {"documents", run.documents},
                           {"bf16", run.precision == Precision::bf16}};
    for (const ParameterEntry& entry : parameters.entries())
        json["tensors"].push_back({{"name", entry.spec.name},
                                   {"shape", entry.spec.shape},
                                   {"offset", entry.offset},
                                   {"decay", entry.spec.decay}});
    return json;
}

/// Initial weights, then every tensor moved off its special value: zero biases and unit gains would hide mistakes.
void initialise(Parameters& parameters, bool perturb) {
    parameters.initialise(7);
    if (!perturb) return;
    std::vector<float> noise(static_cast<std::size_t>(parameters.elements()));
    fill_normal(8, "perturbation", 0.1, 0, parameters.elements(), noise.data());
    std::transform(noise.begin(), noise.end(), parameters.values(), parameters.values(), std::plus<>());
}

struct Rows {
    std::vector<std::int64_t> inputs, targets;
    std::vector<std::int32_t> positions;  // of each token in its document
    Batch batch(std::int64_t rows) const { return {rows, inputs, targets, positions}; }
};

Rows random_rows(const Case& run, std::uint32_t seed) {
    Rows rows;
    const std::int64_t count = run.rows * run.tokens;
    for (std::int64_t i = 0; i < count; ++i) {
        const auto words = philox4x32({static_cast<std::uint32_t>(i), 0, 0, 0}, {seed, 0});
        rows.inputs.push_back(words[0] % static_cast<std::uint32_t>(run.vocabulary));
        const std::int64_t target = words[1] % static_cast<std::uint32_t>(run.vocabulary);
        rows.targets.push_back(words[2] % 5 == 0 ? -1 : target);
        const bool begins = i % run.tokens == 0 || (run.documents && words[3] % 40 == 0);
        rows.positions.push_back(begins ? 0 : rows.positions.back() + 1);
    }
    return rows;
}

Rows text_rows(const Case& run, const std::string& text, std::uint32_t seed) {
    Rows rows;
    for (std::int64_t row = 0; row < run.rows; ++row) {
        const auto words = philox4x32({static_cast<std::uint32_t>(row), 0, 0, 0}, {seed, 1});
        const std::size_t begin = words[0] % (text.size() - static_cast<std::size_t>(run.tokens) - 1);
        for (std::size_t i = begin; i < begin + static_cast<std::size_t>(run.tokens); ++i) {
            rows.inputs.push_back(static_cast<unsigned char>(text[i]));
            rows.targets.push_back(static_cast<unsigned char>(text[i + 1]));
        }
    }
    return rows;
}

void write_batches(const Output& output, const std::vector<Rows>& batches) {
    std::vector<std::int64_t> all;
    for (const Rows& rows : batches) {
        all.insert(all.end(), rows.inputs.begin(), rows.inputs.end());
        all.insert(all.end(), rows.targets.begin(), rows.targets.end());
    }
    output.write("batches.bin", all.data(), all.size());
    std::vector<std::int64_t> positions;
    for (const Rows& rows : batches) positions.insert(positions.end(), rows.positions.begin(), rows.positions.end());
    output.write("positions.bin", positions.data(), positions.size());
}

void run_gradients(const Case& run, const Output& output) {
    Parameters parameters(coordinator::tensor_inventory(run.config, run.vocabulary, run.tokens), run.precision);
    initialise(parameters, true);
    Transformer model(run.config, run.vocabulary, run.tokens, parameters, {.z_loss = run.z_loss});
    std::vector<Rows> batches;
    for (std::int64_t i = 0; i < run.micro_batches; ++i)
        batches.push_back(random_rows(run, static_cast<std::uint32_t>(i)));
    std::int64_t targets = 0;
    for (const Rows& rows : batches)
        targets += std::count_if(rows.targets.begin(), rows.targets.end(), [](auto t) { return t >= 0; });

    nlohmann::json json = describe(run, parameters);
    parameters.zero_gradients();
    for (const Rows& rows : batches) {
        json["losses"].push_back(model.accumulate_gradients(rows.batch(run.rows), 1.0 / static_cast<double>(targets)));
        json["evaluation_losses"].push_back(model.loss_sum(rows.batch(run.rows)));
    }
    write_batches(output, batches);
    const auto elements = static_cast<std::size_t>(parameters.elements());
    output.write("values.bin", parameters.values(), elements);
    output.write("gradients.bin", parameters.gradients(), elements);
    const std::vector<float> logits = model.logits(batches[0].inputs, run.rows, run.tokens, batches[0].positions);
    output.write("logits.bin", logits.data(), logits.size());
    output.write_json(json);
}

struct Step {
    double loss, norm;
};

Step train_step(const Case& run, Transformer& model, Parameters& parameters, std::span<const Rows> batches,
                std::int64_t step, double learning_rate, std::vector<float>& exp_avg, std::vector<float>& exp_avg_sq) {
    const double targets = static_cast<double>(run.rows * run.tokens * run.micro_batches);
    parameters.zero_gradients();
    double loss = 0;
    for (const Rows& rows : batches) loss += model.accumulate_gradients(rows.batch(run.rows), 1.0 / targets);
    const double norm = std::sqrt(sum_of_squares(parameters.gradients(), parameters.elements()));
    AdamWStep update = {.learning_rate = learning_rate, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
    update.gradient_scale = std::min(1.0, 1.0 / (norm + 1e-6));
    update.bias_correction1 = 1.0 - std::pow(update.beta1, static_cast<double>(step));
    update.bias_correction2 = 1.0 - std::pow(update.beta2, static_cast<double>(step));
    for (const ParameterEntry& entry : parameters.entries()) {
        update.weight_decay = entry.spec.decay ? 0.1 : 0.0;
        adamw_update(update, entry.spec.elements(), parameters.gradients() + entry.offset,
                     parameters.values() + entry.offset, exp_avg.data() + entry.offset,
                     exp_avg_sq.data() + entry.offset);
    }
    return {loss / targets, norm};
}

void run_training(const Case& run, const Output& output) {
    constexpr std::int64_t kSteps = 100;
    constexpr const char* kText = "/usr/share/common-licenses/GPL-3";
    std::ifstream file(kText, std::ios::binary);
    const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
    KIBAN_CHECK(text.size() > 10000, "read the training text {}: got {} bytes", kText, text.size());

    Parameters parameters(coordinator::tensor_inventory(run.config, run.vocabulary, run.tokens), run.precision);
    initialise(parameters, false);
    Transformer model(run.config, run.vocabulary, run.tokens, parameters);
    const auto elements = static_cast<std::size_t>(parameters.elements());
    output.write("values.bin", parameters.values(), elements);
    std::vector<Rows> batches;
    for (std::int64_t i = 0; i < kSteps * run.micro_batches; ++i)
        batches.push_back(text_rows(run, text, static_cast<std::uint32_t>(i)));
    write_batches(output, batches);

    nlohmann::json json = describe(run, parameters);
    std::vector<float> exp_avg(elements, 0.0F);
    std::vector<float> exp_avg_sq(elements, 0.0F);
    for (std::int64_t step = 1; step <= kSteps; ++step) {
        const double learning_rate = 1e-3 * std::min(1.0, static_cast<double>(step) / 10.0);
        const auto first = static_cast<std::size_t>((step - 1) * run.micro_batches);
        const std::span<const Rows> rows(batches.data() + first, static_cast<std::size_t>(run.micro_batches));
        const Step result = train_step(run, model, parameters, rows, step, learning_rate, exp_avg, exp_avg_sq);
        json["learning_rates"].push_back(learning_rate);
        json["losses"].push_back(result.loss);
        json["norms"].push_back(result.norm);
    }
    output.write("trained.bin", parameters.values(), elements);
    output.write_json(json);
}

void run_adamw(const Output& output) {
    constexpr std::int64_t kSteps = 20;
    constexpr std::size_t kElements = 100'003;  // two blocks, the last one partial and odd
    std::vector<float> values(kElements);
    std::vector<float> gradients(kElements * kSteps);
    fill_normal(1, "values", 0.05, 0, static_cast<std::int64_t>(values.size()), values.data());
    fill_normal(1, "gradients", 3.0, 0, static_cast<std::int64_t>(gradients.size()), gradients.data());
    output.write("values.bin", values.data(), values.size());
    output.write("gradients.bin", gradients.data(), gradients.size());
    AdamWStep update = {.learning_rate = 0.01,
                        .beta1 = 0.9,
                        .beta2 = 0.999,
                        .epsilon = 1e-8,
                        .weight_decay = 0.1,
                        .gradient_scale = 0.25};
    std::vector<float> exp_avg(kElements, 0.0F);
    std::vector<float> exp_avg_sq(kElements, 0.0F);
    for (std::int64_t step = 1; step <= kSteps; ++step) {
        update.bias_correction1 = 1.0 - std::pow(update.beta1, static_cast<double>(step));
        update.bias_correction2 = 1.0 - std::pow(update.beta2, static_cast<double>(step));
        const float* gradient = gradients.data() + static_cast<std::size_t>(step - 1) * kElements;
        adamw_update(update, kElements, gradient, values.data(), exp_avg.data(), exp_avg_sq.data());
    }
    output.write("updated.bin", values.data(), values.size());
    output.write_json({{"steps", kSteps},
                       {"learning_rate", update.learning_rate},
                       {"betas", {update.beta1, update.beta2}},
                       {"epsilon", update.epsilon},
                       {"weight_decay", update.weight_decay},
                       {"gradient_scale", update.gradient_scale}});
}

void run_muon(const Output& output) {
    constexpr std::int64_t kSteps = 10;
    const std::vector<std::vector<std::int64_t>> shapes = {{48, 48}, {48, 160}, {160, 48}};
    const MuonStep update = {.learning_rate = 0.02, .momentum = 0.95, .weight_decay = 0.1, .gradient_scale = 0.25};
    std::int64_t elements = 0;
    for (const auto& shape : shapes) elements += shape[0] * shape[1];
    std::vector<float> values(static_cast<std::size_t>(elements));
    std::vector<float> gradients(static_cast<std::size_t>(elements * kSteps));
    fill_normal(1, "values", 0.05, 0, elements, values.data());
    fill_normal(1, "gradients", 3.0, 0, elements * kSteps, gradients.data());
    output.write("values.bin", values.data(), values.size());
    output.write("gradients.bin", gradients.data(), gradients.size());
    std::vector<float> buffer(values.size(), 0.0F);
    std::vector<float> work;
    for (std::int64_t step = 0; step < kSteps; ++step) {
        float* gradient = gradients.data() + step * elements;
        muon_momentum(update, elements, gradient, buffer.data(), gradient);
        std::int64_t offset = 0;
        for (const auto& shape : shapes) {
            orthogonalise(shape[0], shape[1], gradient + offset, work);
            muon_apply(update, muon_scale(shape[0], shape[1]), shape[0] * shape[1], gradient + offset,
                       values.data() + offset);
            offset += shape[0] * shape[1];
        }
    }
    output.write("updated.bin", values.data(), values.size());
    output.write_json({{"steps", kSteps},
                       {"shapes", shapes},
                       {"learning_rate", update.learning_rate},
                       {"momentum", update.momentum},
                       {"weight_decay", update.weight_decay},
                       {"gradient_scale", update.gradient_scale}});
}

}  // namespace
}  // namespace kiban::worker

int main(int argc, char** argv) {
    try {
        if (argc != 3) throw kiban::UsageError("usage: reference_run CASE DIRECTORY");
        const std::string name = argv[1];
        const kiban::worker::Output output{std::filesystem::path(argv[2])};
        if (name == "adamw")
            kiban::worker::run_adamw(output);
        else if (name == "muon")
            kiban::worker::run_muon(output);
        else if (name.find("train-") != std::string::npos)
            kiban::worker::run_training(kiban::worker::case_called(name), output);
        else
            kiban::worker::run_gradients(kiban::worker::case_called(name), output);
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return kiban::exit_code_of(error);
    }
}
