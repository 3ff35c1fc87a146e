// SPDX-License-Identifier: Apache-2.0
// How a model's tensors are called and laid out in the ecosystem (the Llama and GPT-2 families of Hugging Face
// transformers), against our own (inventory.h): a table, read by export and import, so that they cannot disagree.
//
// Both families agree with ours on [out, in] matrices, row-major, and on half-split rotary pairs, so no head is
// permuted. GPT-2 stores its four projections as [in, out], with q, k and v as one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "checkpoint/box.h"
#include "coordinator/job/inventory.h"
#include "coordinator/job/model_config.h"

namespace kiban::coordinator {

struct ForeignTensor {
    std::string name;
    checkpoint::Shape shape;
    std::vector<TensorSpec> ours;  // stacked along dimension 0 they are the foreign tensor, or its transpose
    bool transposed = false;

    std::int64_t elements() const { return checkpoint::num_elements(shape); }
};

/// In the order of our inventory; every tensor of it is in exactly one of them. The tied head of gpt2 is in none.
std::vector<ForeignTensor> foreign_tensors(const ModelConfig& model, std::int64_t vocabulary,
                                           std::int64_t sequence_length);

/// [rows, columns] to [columns, rows].
std::vector<float> transposed(const std::vector<float>& matrix, std::int64_t rows, std::int64_t columns);

/// The name without what a file of the bare model leaves out: "h.0.ln_1.weight" stands for
/// "transformer.h.0.ln_1.weight".
std::string foreign_name_in_base_model(ModelLayout layout, const std::string& name);

/// Constants that older files carry beside the weights: masks and rotary frequencies, which follow from the
/// configuration.
bool is_foreign_constant(ModelLayout layout, const std::string& name);

inline constexpr const char* kForeignHead = "lm_head.weight";

}  // namespace kiban::coordinator
