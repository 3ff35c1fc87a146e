// SPDX-License-Identifier: Apache-2.0
// config.json and the tokenizer's description in the ecosystem's form, from and to our [model].
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>

#include "coordinator/job/model_config.h"

namespace kiban::coordinator {

struct ForeignModel {
    ModelConfig model;
    std::int64_t vocabulary = 0;
    std::int64_t sequence_length = 0;  // gpt2: exactly this many positions; llama: what it was made for
    bool tied = false;                 // the head is the embedding
};

/// config.json. `dtype`: float32 | bfloat16. The token `end_of_document` ends a text.
nlohmann::ordered_json foreign_config(const ForeignModel& model, const std::string& dtype,
                                      std::int64_t end_of_document);

/// ConfigError naming the field for another family, or for what our models do not have (scaled rotary positions, biases
/// in llama, another activation, ...). What is not there has the ecosystem's default.
ForeignModel foreign_model_of(const nlohmann::json& config, const std::string& where);

struct ForeignTokenizer {
    std::string name;  // ours: bytes, or of a tokenizer.json
    std::int64_t tokens = 0;
    std::int64_t end_of_document = 0;
    std::string end_text;  // what its tokenizer.json calls that token
};

/// tokenizer_config.json. For `bytes` it says what the ids are, and claims no tokenizer that the ecosystem has; of
/// others tokenizer.json beside it says all.
nlohmann::ordered_json foreign_tokenizer_config(const ForeignTokenizer& tokenizer, std::int64_t sequence_length);
/// The name of our tokenizer that such a file states; empty for any other file.
std::string tokenizer_of_foreign_config(const nlohmann::json& config);

}  // namespace kiban::coordinator
