// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/interchange_config.h"

#include <cmath>
#include <initializer_list>
#include <limits>

#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;
using nlohmann::ordered_json;

constexpr double kInitializerRange = 0.02;  // of inventory.cpp; only read by those who make new weights

// Reads config.json: what is missing or null has its default, what has the wrong type is named.
class ConfigFields {
  public:
    ConfigFields(const json& config, std::string where) : config_(config), where_(std::move(where)) {
        if (!config.is_object()) throw ConfigError("{}: expected an object, found {}", where_, config.type_name());
    }

    std::int64_t size(const char* key, std::int64_t missing = 0) const {
        const json* value = find(key);
        if (value == nullptr && missing != 0) return missing;
        constexpr std::int64_t kMost = std::int64_t{1} << 31;
        const bool integer = value != nullptr && value->is_number_integer();
        // An unsigned number above 2^63 becomes a negative one.
        if (!integer || value->get<std::int64_t>() < 1 || value->get<std::int64_t>() > kMost)
            refuse(key, fmt::format("an integer of 1 to {}", kMost));
        return value->get<std::int64_t>();
    }

    double above_zero(const char* key, double missing) const {
        const json* value = find(key);
        if (value == nullptr) return missing;
        if (!value->is_number() || !(value->get<double>() > 0) || !std::isfinite(value->get<double>()))
            refuse(key, "a number above 0");
        return value->get<double>();
    }

    bool flag(const char* key, bool missing) const {
        const json* value = find(key);
        if (value == nullptr) return missing;
        if (!value->is_boolean()) refuse(key, "true or false");
        return value->get<bool>();
    }

    void require_flag(const char* key, bool expected) const {
        if (flag(key, expected) != expected) refuse(key, expected ? "true, which our models do" : "false");
    }

    void require_word(const char* key, std::initializer_list<const char*> words) const {
        const json* value = find(key);
        if (value == nullptr) return;
        for (const char* word : words) {
            if (*value == word) return;
        }
        refuse(key, fmt::format("'{}'", *words.begin()));
    }

    const json* find(const char* key) const {
        const auto found = config_.find(key);
        return found == config_.end() || found->is_null() ? nullptr : &*found;
    }

    [[noreturn]] void refuse(const char* key, const std::string& expected) const {
        const json* value = find(key);
        throw ConfigError("{}: {}: expected {}, found {}", where_, key, expected,
                          value == nullptr ? "nothing" : value->dump());
    }

    const std::string& where() const { return where_; }

  private:
    const json& config_;
    std::string where_;
};

// Newer writers put the rotary base into an object of its own.
double rope_theta_of(const ConfigFields& fields) {
    if (fields.find("rope_scaling") != nullptr)
        fields.refuse("rope_scaling", "null: positions are turned as they are, without scaling");
    const json* parameters = fields.find("rope_parameters");
    if (parameters == nullptr) return fields.above_zero("rope_theta", 10000.0);
    const ConfigFields rope(*parameters, fields.where() + ": rope_parameters");
    rope.require_word("rope_type", {"default"});
    return rope.above_zero("rope_theta", fields.above_zero("rope_theta", 10000.0));
}

ForeignModel llama_of(const ConfigFields& fields) {
    ForeignModel foreign;
    ModelConfig& model = foreign.model;
    model.layout = ModelLayout::llama;
    model.layers = fields.size("num_hidden_layers");
    model.d_model = fields.size("hidden_size");
    model.heads = fields.size("num_attention_heads");
    model.kv_heads = fields.size("num_key_value_heads", model.heads);
    model.d_hidden = fields.size("intermediate_size");
    model.norm_epsilon = fields.above_zero("rms_norm_eps", 1e-6);
    model.rope_theta = rope_theta_of(fields);
    const std::int64_t head_size = fields.size("head_dim", model.head_size());
    if (head_size * model.heads != model.d_model)
        fields.refuse("head_dim",
                      fmt::format("hidden_size / num_attention_heads = {} / {}", model.d_model, model.heads));
    fields.require_word("hidden_act", {"silu", "swish"});
    fields.require_flag("attention_bias", false);
    fields.require_flag("mlp_bias", false);
    foreign.vocabulary = fields.size("vocab_size");
    foreign.sequence_length = fields.size("max_position_embeddings", 2048);
    foreign.tied = fields.flag("tie_word_embeddings", false);
    return foreign;
}

ForeignModel gpt2_of(const ConfigFields& fields) {
    ForeignModel foreign;
    ModelConfig& model = foreign.model;
    model.layout = ModelLayout::gpt2;
    model.layers = fields.size("n_layer");
    model.d_model = fields.size("n_embd");
    model.heads = fields.size("n_head");
    model.kv_heads = model.heads;
    model.d_hidden = fields.size("n_inner", 4 * model.d_model);
    model.norm_epsilon = fields.above_zero("layer_norm_epsilon", 1e-5);
    fields.require_word("activation_function", {"gelu_new", "gelu_pytorch_tanh"});
    fields.require_flag("scale_attn_weights", true);
    fields.require_flag("scale_attn_by_inverse_layer_idx", false);
    fields.require_flag("add_cross_attention", false);
    foreign.vocabulary = fields.size("vocab_size");
    foreign.sequence_length = fields.size("n_positions");
    foreign.tied = fields.flag("tie_word_embeddings", true);
    return foreign;
}

ordered_json llama_config(const ForeignModel& foreign) {
    const ModelConfig& model = foreign.model;
    return {{"architectures", {"LlamaForCausalLM"}},
            {"model_type", "llama"},
            {"hidden_size", model.d_model},
            {"intermediate_size", model.resolved_hidden()},
            {"num_hidden_layers", model.layers},
            {"num_attention_heads", model.heads},
            {"num_key_value_heads", model.resolved_kv_heads()},
            {"head_dim", model.head_size()},
            {"vocab_size", foreign.vocabulary},
            {"max_position_embeddings", foreign.sequence_length},
            {"rms_norm_eps", model.norm_epsilon},
            {"rope_theta", model.rope_theta},
            {"rope_scaling", nullptr},
            {"hidden_act", "silu"},
            {"attention_bias", false},
            {"attention_dropout", 0.0},
            {"mlp_bias", false},
            {"pretraining_tp", 1}};
}

ordered_json gpt2_config(const ForeignModel& foreign) {
    const ModelConfig& model = foreign.model;
    return {{"architectures", {"GPT2LMHeadModel"}},
            {"model_type", "gpt2"},
            {"n_embd", model.d_model},
            {"n_inner", model.resolved_hidden()},
            {"n_layer", model.layers},
            {"n_head", model.heads},
            {"n_positions", foreign.sequence_length},
            {"n_ctx", foreign.sequence_length},
            {"vocab_size", foreign.vocabulary},
            {"activation_function", "gelu_new"},
            {"layer_norm_epsilon", model.norm_epsilon},
            {"attn_pdrop", 0.0},
            {"embd_pdrop", 0.0},
            {"resid_pdrop", 0.0},
            {"reorder_and_upcast_attn", false},
            {"scale_attn_by_inverse_layer_idx", false},
            {"scale_attn_weights", true}};
}

}  // namespace

ordered_json foreign_config(const ForeignModel& foreign, const std::string& dtype, std::int64_t end_of_document) {
    const bool llama = foreign.model.layout == ModelLayout::llama;
    ordered_json config = llama ? llama_config(foreign) : gpt2_config(foreign);
    config["bos_token_id"] = end_of_document;
    config["eos_token_id"] = end_of_document;
    config["initializer_range"] = kInitializerRange;
    config["tie_word_embeddings"] = !llama;
    config["torch_dtype"] = dtype;
    config["use_cache"] = true;
    return config;
}

ForeignModel foreign_model_of(const json& config, const std::string& where) {
    const ConfigFields fields(config, where);
    const json* type = fields.find("model_type");
    if (type != nullptr && *type == "llama") return llama_of(fields);
    if (type != nullptr && *type == "gpt2") return gpt2_of(fields);
    fields.refuse("model_type", "'llama' or 'gpt2'");
}

ordered_json foreign_tokenizer_config(const ForeignTokenizer& tokenizer, std::int64_t sequence_length) {
    ordered_json ours{
        {"tokenizer", tokenizer.name}, {"tokens", tokenizer.tokens}, {"end_of_document", tokenizer.end_of_document}};
    if (tokenizer.name != "bytes") {
        return {{"tokenizer_class", tokenizer.name.ends_with(".model") ? "LlamaTokenizer" : "PreTrainedTokenizerFast"},
                {"model_max_length", sequence_length},
                {"bos_token", tokenizer.end_text},
                {"eos_token", tokenizer.end_text},
                {"clean_up_tokenization_spaces", false},
                {"kiban", ours}};
    }
    ours["ids"] =
        "0 to 255 are the bytes of the text themselves; end_of_document ends each text and so stands "
        "before the next; ids from 'tokens' on are padding of the embedding and stand for nothing";
    return {{"tokenizer_class", "KibanByteTokenizer"}, {"model_max_length", sequence_length}, {"kiban", ours}};
}

std::string tokenizer_of_foreign_config(const json& config) {
    if (!config.is_object() || !config.contains("kiban") || !config["kiban"].is_object()) return {};
    const auto found = config["kiban"].find("tokenizer");
    return found != config["kiban"].end() && found->is_string() ? found->get<std::string>() : "";
}

}  // namespace kiban::coordinator
