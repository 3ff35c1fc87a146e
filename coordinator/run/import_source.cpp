// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/import_source.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <iterator>
#include <set>

#include "checkpoint/float_bits.h"
#include "data/digest.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/nesting.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using checkpoint::SafeTensor;
using nlohmann::json;

json read_json(const fs::path& file) {
    const std::string text = monitoring::read_text(file);
    if (monitoring::nests_deeper_than(text, monitoring::kMostNesting))
        throw ConfigError("'{}' nests deeper than {} levels", file.string(), monitoring::kMostNesting);
    json content = json::parse(text, nullptr, /*allow_exceptions=*/false);
    if (content.is_discarded()) throw ConfigError("'{}' is no JSON", file.string());
    return content;
}

std::string where_of(const fs::path& file) { return fmt::format("'{}'", file.string()); }

constexpr const char* kTokenizerConfig = "tokenizer_config.json";

// The tokenizer of ours that an exported model says it was made with.
std::string stated_tokenizer(const fs::path& directory) {
    const fs::path file = directory / kTokenizerConfig;
    return fs::exists(file) ? tokenizer_of_foreign_config(read_json(file)) : "";
}

// What other tokenizers leave beside a model.
std::vector<std::string> tokenizer_files(const fs::path& directory) {
    std::vector<std::string> there;
    for (const char* name : {"tokenizer.json", "tokenizer.model", "vocab.json", "vocab.txt", "merges.txt"}) {
        if (fs::exists(directory / name)) there.emplace_back(name);
    }
    return there;
}

bool is_readable(const std::string& dtype) { return dtype == "F32" || dtype == "BF16" || dtype == "F16"; }

std::vector<float> to_fp32(const std::vector<std::byte>& bytes, const std::string& dtype) {
    if (dtype == "F32") {
        std::vector<float> values(bytes.size() / sizeof(float));
        std::memcpy(values.data(), bytes.data(), bytes.size());
        return values;
    }
    std::vector<float> values(bytes.size() / 2);
    for (std::size_t i = 0; i < values.size(); ++i) {
        std::uint16_t bits = 0;
        std::memcpy(&bits, bytes.data() + 2 * i, sizeof(bits));
        values[i] = dtype == "BF16" ? checkpoint::f32_of_bf16(bits) : checkpoint::f32_of_f16(bits);
    }
    return values;
}

template <typename Value>
void check_key(const char* key, const Value& of_model, const Value& of_file, const std::string& name) {
    if (of_model == of_file) return;
    throw ConfigError("{}: {} = {}, but the model to be imported has {}: leave it out", name, key, of_file, of_model);
}

}  // namespace

ImportSource::ImportSource(const fs::path& directory)
    : directory_(directory),
      model_(foreign_model_of(read_json(directory / "config.json"), where_of(directory / "config.json"))),
      tensors_(directory) {
    const auto has_full_name = [&](const auto& entry) {
        return foreign_name_in_base_model(model_.model.layout, entry.first) != entry.first;
    };
    bare_ = std::none_of(tensors_.tensors().begin(), tensors_.tensors().end(), has_full_name);
}

std::vector<std::string> ImportSource::run_file_defaults() const {
    const ModelConfig& model = model_.model;
    const bool llama = model.layout == ModelLayout::llama;
    std::vector<std::string> keys = {fmt::format("model.layout={}", llama ? "llama" : "gpt2"),
                                     fmt::format("model.layers={}", model.layers),
                                     fmt::format("model.d_model={}", model.d_model),
                                     fmt::format("model.heads={}", model.heads),
                                     fmt::format("model.kv_heads={}", model.kv_heads),
                                     fmt::format("model.d_hidden={}", model.d_hidden),
                                     fmt::format("model.norm_epsilon={}", model.norm_epsilon),
                                     fmt::format("data.sequence_length={}", model_.sequence_length)};
    if (llama) keys.push_back(fmt::format("model.rope_theta={}", model.rope_theta));
    if (model_.vocabulary > std::int64_t{data::Tokenizer("bytes").vocabulary()})
        keys.push_back(fmt::format("model.vocabulary={}", model_.vocabulary));
    if (fs::exists(tokenizer_file()) && stated_tokenizer(directory_) != "bytes")
        keys.push_back("data.tokenizer=" + fs::absolute(tokenizer_file()).lexically_normal().string());
    return keys;
}

void ImportSource::check_run_file(const RunFile& run_file, const std::string& name) const {
    const ModelConfig& wanted = model_.model;
    const ModelConfig& found = run_file.model;
    const auto word = [](ModelLayout layout) { return std::string(layout == ModelLayout::llama ? "llama" : "gpt2"); };
    check_key("model.layout", word(wanted.layout), word(found.layout), name);
    check_key("model.layers", wanted.layers, found.layers, name);
    check_key("model.d_model", wanted.d_model, found.d_model, name);
    check_key("model.heads", wanted.heads, found.heads, name);
    check_key("model.kv_heads", wanted.resolved_kv_heads(), found.resolved_kv_heads(), name);
    check_key("model.d_hidden", wanted.resolved_hidden(), found.resolved_hidden(), name);
    check_key("model.norm_epsilon", wanted.norm_epsilon, found.norm_epsilon, name);
    if (wanted.layout == ModelLayout::llama) {
        check_key("model.rope_theta", wanted.rope_theta, found.rope_theta, name);
    } else {
        check_key("data.sequence_length", model_.sequence_length, std::int64_t{run_file.data.sequence_length}, name);
    }
    check_tokenizer(run_file);
    const std::int64_t tokens = data::Tokenizer::vocabulary_of(run_file.data.tokenizer, run_file.base);
    check_key("model.vocabulary", model_.vocabulary, found.vocabulary == 0 ? tokens : found.vocabulary, name);
}

fs::path ImportSource::tokenizer_file() const {
    const fs::path json = directory_ / "tokenizer.json";
    const fs::path model = directory_ / "tokenizer.model";
    return !fs::exists(json) && fs::exists(model) ? model : json;
}

// Rows of an embedding mean what the tokenizer says: another tokenizer would make noise of them, and no error.
void ImportSource::check_tokenizer(const RunFile& run_file) const {
    const std::string& ours = run_file.data.tokenizer;
    if (data::Tokenizer::is_file(ours)) return check_tokenizer_file(run_file);
    if (data::Tokenizer::trained_vocabulary(ours)) {
        throw ConfigError("data.tokenizer = '{}' would be trained anew; '{}' needs the tokenizer it was made with",
                          ours, directory_.string());
    }
    const std::int64_t tokens = data::Tokenizer(ours).vocabulary();
    if (const std::string stated = stated_tokenizer(directory_); !stated.empty()) {
        if (stated == ours && model_.vocabulary >= tokens) return;
        throw ConfigError("'{}' states the tokenizer '{}', of {} tokens; data.tokenizer is '{}', of {}",
                          (directory_ / kTokenizerConfig).string(), stated, model_.vocabulary, ours, tokens);
    }
    const auto others = tokenizer_files(directory_);
    if (!others.empty()) {
        throw ConfigError(
            "'{}' was made with another tokenizer ('{}' is there): its {} embeddings stand for other things than the "
            "{} tokens of data.tokenizer = '{}'",
            directory_.string(), others.front(), model_.vocabulary, tokens, ours);
    }
    if (model_.vocabulary != tokens) {
        throw ConfigError(
            "'{}': vocab_size is {}, but data.tokenizer = '{}' has {} tokens (ids 0 to 255 are bytes, 256 ends a "
            "document): a model of another vocabulary cannot be imported",
            (directory_ / "config.json").string(), model_.vocabulary, ours, tokens);
    }
}

void ImportSource::check_tokenizer_file(const RunFile& run_file) const {
    const auto ours = data::Tokenizer::from_file(run_file.base / run_file.data.tokenizer);
    const auto theirs = monitoring::read_text_if_exists(tokenizer_file());
    const std::string digest = theirs ? data::sha256(*theirs) : "no such file";
    if (digest != ours.sha256()) {
        throw ConfigError(
            "data.tokenizer = '{}' is not the tokenizer of the model: expected '{}' (digest {}), found {}",
            run_file.data.tokenizer, tokenizer_file().string(), digest, ours.sha256());
    }
    if (model_.vocabulary >= std::int64_t{ours.vocabulary()}) return;
    throw ConfigError("'{}': vocab_size is {}, but '{}' has {} tokens: some have no embedding",
                      (directory_ / "config.json").string(), model_.vocabulary, tokenizer_file().string(),
                      ours.vocabulary());
}

const SafeTensor* ImportSource::find(const std::string& name) const {
    return tensors_.find(bare_ ? foreign_name_in_base_model(model_.model.layout, name) : name);
}

const SafeTensor& ImportSource::stored(const ForeignTensor& tensor) const {
    const SafeTensor* found = find(tensor.name);
    if (found == nullptr && tensor.name == kForeignHead && model_.tied) found = find("model.embed_tokens.weight");
    KIBAN_CHECK(found != nullptr, "tensor '{}' was there when it was looked for", tensor.name);
    return *found;
}

std::vector<ForeignTensor> ImportSource::checked_tensors() {
    const auto wanted = foreign_tensors(model_.model, model_.vocabulary, model_.sequence_length);
    std::vector<std::string> faults;
    std::set<std::string> known;
    for (const ForeignTensor& tensor : wanted) {
        const SafeTensor* found = find(tensor.name);
        if (found != nullptr) {
            known.insert(found->name);
            if (found->shape != tensor.shape || !is_readable(found->dtype))
                faults.push_back(fmt::format("tensor '{}': expected F32, BF16 or F16 {}, found {} {}", found->name,
                                             checkpoint::to_string(tensor.shape), found->dtype,
                                             checkpoint::to_string(found->shape)));
        } else if (tensor.name != kForeignHead || !model_.tied) {
            faults.push_back(
                fmt::format("tensor '{}' {} is missing", tensor.name, checkpoint::to_string(tensor.shape)));
        }
    }
    std::size_t constants = 0;
    for (const auto& [name, tensor] : tensors_.tensors()) {
        if (known.contains(name) || (name == kForeignHead && model_.model.layout == ModelLayout::gpt2)) continue;
        if (is_foreign_constant(model_.model.layout, name)) {
            ++constants;
        } else {
            faults.push_back(
                fmt::format("tensor '{}' {} is none of this model", name, checkpoint::to_string(tensor.shape)));
        }
    }
    if (!faults.empty()) {
        const std::size_t shown = std::min<std::size_t>(faults.size(), 5);
        throw ConfigError("'{}' does not hold the model that its config.json describes:\n  {}{}", directory_.string(),
                          fmt::join(faults.begin(), faults.begin() + static_cast<std::ptrdiff_t>(shown), "\n  "),
                          faults.size() > shown ? fmt::format("\n  and {} more", faults.size() - shown) : "");
    }
    if (constants > 0) notes_.push_back(fmt::format("{} constants (masks, frequencies) are left out", constants));
    const bool llama = model_.model.layout == ModelLayout::llama;
    if (!llama || (model_.tied && find(kForeignHead) != nullptr)) check_tied_head(wanted.front());
    if (llama && model_.tied) note_tied_llama();
    return wanted;
}

void ImportSource::note_tied_llama() {
    notes_.emplace_back(
        "the head was tied to the embedding; it starts as a copy and is trained by itself from here on");
}

// A head that is tied, as our gpt2's always is, and there all the same must be the embedding.
void ImportSource::check_tied_head(const ForeignTensor& embedding) {
    const SafeTensor* head = tensors_.find(kForeignHead);
    if (head == nullptr && model_.tied) return;
    ForeignTensor as_embedding = embedding;
    as_embedding.name = kForeignHead;
    const bool same = head != nullptr && head->shape == embedding.shape && is_readable(head->dtype) &&
                      values_of(as_embedding) == values_of(embedding);
    if (same) return;
    throw ConfigError("'{}': the head is not tied to the embedding (tie_word_embeddings is {}, '{}' {}): {}",
                      directory_.string(), model_.tied, kForeignHead,
                      head == nullptr ? "is missing" : fmt::format("differs from '{}'", embedding.name),
                      model_.model.layout == ModelLayout::gpt2 ? "model.layout = 'gpt2' has no head of its own"
                                                               : "take the tensor away, or say that it is not tied");
}

std::vector<float> ImportSource::values_of(const ForeignTensor& tensor) const {
    const SafeTensor& found = tensor.name == kForeignHead && tensors_.find(kForeignHead) != nullptr
                                  ? *tensors_.find(kForeignHead)
                                  : stored(tensor);
    std::vector<std::byte> bytes(found.end - found.begin);
    tensors_.read(found, 0, bytes);
    return to_fp32(bytes, found.dtype);
}

}  // namespace kiban::coordinator
