// SPDX-License-Identifier: Apache-2.0
// checkpoint_logits CHECKPOINT DIR: Kiban's logits for two fixed rows from a checkpoint's weights, for the PyTorch
// referee: DIR/case.json (the shape), DIR/tokens.bin (int64 [2, T]), DIR/logits.bin (float [2, T, V]).
#include <nlohmann/json.hpp>

#include <cstdio>
#include <exception>
#include <filesystem>
#include <span>
#include <string_view>
#include <vector>

#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/config/run_file.h"
#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "worker/model/transformer.h"
#include "worker/train/loading.h"

namespace {

using namespace kiban;

constexpr std::int64_t kRows = 2;

// Rows of the embedding as it is stored.
std::int64_t vocabulary_of(const checkpoint::CheckpointReader& reader) {
    for (const checkpoint::TensorInfo& tensor : reader.tensors()) {
        if (tensor.id.name == "embedding.weight" && tensor.id.kind == "param") return tensor.shape[0];
    }
    throw CheckpointError("the checkpoint has no embedding.weight");
}

template <typename T>
void publish_values(const std::filesystem::path& file, const std::vector<T>& values) {
    monitoring::publish(file,
                        std::string_view(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T)));
}

void write_case(const std::filesystem::path& checkpoint, const std::filesystem::path& directory) {
    const checkpoint::CheckpointReader reader(checkpoint);
    const auto state = checkpoint::run_state_from_json(reader.state());
    const std::int64_t vocabulary = vocabulary_of(reader);
    const auto run_file = coordinator::parse_run_file(state.run_file, checkpoint, "the checkpoint's run file");
    const auto& model = run_file.model;
    const auto tokens_per_row = static_cast<std::int64_t>(state.sequence_length);
    worker::Parameters parameters(coordinator::tensor_inventory(model, vocabulary, tokens_per_row));
    worker::load_parameters(checkpoint, parameters);
    worker::Transformer transformer(model, vocabulary, tokens_per_row, parameters);

    std::vector<std::int64_t> tokens(static_cast<std::size_t>(kRows * tokens_per_row));
    for (std::size_t i = 0; i < tokens.size(); ++i) tokens[i] = (static_cast<std::int64_t>(i) * 31 + 7) % vocabulary;
    const auto logits = transformer.logits(tokens, kRows, tokens_per_row);

    const nlohmann::json shape = {{"layout", model.layout == coordinator::ModelLayout::gpt2 ? "gpt2" : "llama"},
                                  {"layers", model.layers},
                                  {"heads", model.heads},
                                  {"kv_heads", model.resolved_kv_heads()},
                                  {"norm_epsilon", model.norm_epsilon},
                                  {"rope_theta", model.rope_theta},
                                  {"rows", kRows},
                                  {"tokens_per_row", tokens_per_row}};
    monitoring::make_directories(directory);
    monitoring::publish(directory / "case.json", shape.dump());
    publish_values(directory / "tokens.bin", tokens);
    publish_values(directory / "logits.bin", logits);
}

}  // namespace

int main(int argc, char** argv) {
    try {
        if (argc != 3) throw UsageError("expected CHECKPOINT and DIR, found {} arguments", argc - 1);
        write_case(std::filesystem::absolute(argv[1]), std::filesystem::absolute(argv[2]));
        return 0;
    } catch (const std::exception& error) {
        std::fprintf(stderr, "checkpoint_logits: %s\n", error.what());
        return exit_code_of(error);
    }
}
