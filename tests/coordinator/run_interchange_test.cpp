// SPDX-License-Identifier: Apache-2.0
// Models in the ecosystem's form become runs and come back, without a worker: files that are made here from closed
// forms, and every way in which such a directory can be another model's.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>

#include "checkpoint/commit.h"
#include "checkpoint/float_bits.h"
#include "checkpoint/imported.h"
#include "checkpoint/reader.h"
#include "checkpoint/safetensors_directory.h"
#include "coordinator/job/interchange.h"
#include "coordinator/job/interchange_config.h"
#include "coordinator/run/export_model.h"
#include "coordinator/run/import_model.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using checkpoint::SafeTensor;

ForeignModel foreign_of(ModelLayout layout) {
    ForeignModel foreign;
    foreign.model.layout = layout;
    foreign.model.layers = 2;
    foreign.model.d_model = 24;
    foreign.model.heads = 4;
    foreign.model.kv_heads = layout == ModelLayout::llama ? 2 : 4;
    foreign.model.d_hidden = 40;
    foreign.vocabulary = 257;
    foreign.sequence_length = 16;
    foreign.tied = layout == ModelLayout::gpt2;
    return foreign;
}

// Of the ecosystem's tensor `number`; exact in every format that is read.
float value_of(std::size_t number, std::size_t element) {
    return static_cast<float>((element * 7 + number * 13) % 127) / 64.0F - 1.0F;
}

std::vector<std::byte> bytes_of(const SafeTensor& tensor, std::size_t number) {
    std::vector<std::byte> bytes(static_cast<std::size_t>(checkpoint::num_elements(tensor.shape)) *
                                 *checkpoint::safetensors_element_bytes(tensor.dtype));
    for (std::size_t i = 0; i * (tensor.dtype == "F32" ? 4 : 2) < bytes.size(); ++i) {
        const float value = value_of(number, i);
        const std::uint16_t half = checkpoint::bf16_of_f32(value);
        if (tensor.dtype == "F32") std::memcpy(bytes.data() + 4 * i, &value, 4);
        if (tensor.dtype == "BF16") std::memcpy(bytes.data() + 2 * i, &half, 2);
    }
    return bytes;
}

class ModelInterchange : public ::testing::TestWithParam<ModelLayout> {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "kiban-interchange-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        root_ = name;
        for (const ForeignTensor& tensor :
             foreign_tensors(foreign_.model, foreign_.vocabulary, foreign_.sequence_length))
            tensors_.push_back({.name = tensor.name, .dtype = "F32", .shape = tensor.shape});
        write_config([](nlohmann::ordered_json&) {});
    }
    void TearDown() override { fs::remove_all(root_); }

    fs::path model() const { return root_ / "model"; }

    void write_config(const std::function<void(nlohmann::ordered_json&)>& change) const {
        auto config = foreign_config(foreign_, "float32", 256);
        change(config);
        fs::create_directories(model());
        std::ofstream(model() / "config.json") << config.dump(2) << "\n";
    }

    // tensors_, in files of at most `shard_bytes`.
    void write_tensors(std::uint64_t shard_bytes = 1u << 30) const {
        fs::create_directories(model());
        for (const auto& entry : fs::directory_iterator(model())) {
            if (entry.path().string().find("safetensors") != std::string::npos) fs::remove(entry.path());
        }
        checkpoint::SafetensorsDirectoryWriter writer(model(), tensors_, shard_bytes, {{"format", "pt"}});
        for (std::size_t i = 0; i < tensors_.size(); ++i) writer.append(bytes_of(tensors_[i], i));
        writer.close();
    }

    ImportOptions options(const std::string& run = "run") const {
        ImportOptions options;
        options.directory = model();
        options.run_dir = root_ / run;
        options.settings = {"data.sources.0.path=text.txt"};
        return options;
    }

    std::string refusal(const ImportOptions& options) const {
        try {
            import_model(options);
        } catch (const Error& error) {
            EXPECT_FALSE(fs::exists(options.run_dir / "run.toml")) << "a run file after: " << error.what();
            return error.what();
        }
        return "nothing was refused";
    }

    void expect_refusal(const std::string& part, const std::string& run = "run") const {
        const std::string found = refusal(options(run));
        EXPECT_NE(found.find(part), std::string::npos) << found;
    }

    SafeTensor& tensor(const std::string& name) {
        for (SafeTensor& known : tensors_) {
            if (known.name == name) return known;
        }
        throw InternalError("no tensor '{}'", name);
    }

    bool llama() const { return GetParam() == ModelLayout::llama; }

    fs::path root_;
    ForeignModel foreign_ = foreign_of(GetParam());
    std::vector<SafeTensor> tensors_;
};

TEST_P(ModelInterchange, AModelIsExportedAsItWasImported) {
    write_tensors();
    const ImportResult imported = import_model(options());
    EXPECT_TRUE(imported.notes.empty());
    const ExportResult exported = export_model({.checkpoint = imported.checkpoint, .directory = root_ / "out"});
    EXPECT_EQ(exported.step, 0U);
    EXPECT_EQ(exported.tensors, tensors_.size());
    for (const char* file : {"model.safetensors", "config.json"})
        EXPECT_EQ(monitoring::read_text(root_ / "out" / file), monitoring::read_text(model() / file)) << file;
    const ImportOptions again = {
        .directory = root_ / "out", .run_dir = root_ / "again", .run_file = {}, .settings = options().settings};
    export_model({.checkpoint = import_model(again).checkpoint, .directory = root_ / "twice", .shard_bytes = 9000});
    EXPECT_TRUE(fs::exists(root_ / "twice" / checkpoint::kSafetensorsIndex));
    const checkpoint::SafetensorsDirectory twice(root_ / "twice");
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        std::vector<std::byte> found(bytes_of(tensors_[i], i).size());
        twice.read(*twice.find(tensors_[i].name), 0, found);
        EXPECT_EQ(found, bytes_of(tensors_[i], i)) << tensors_[i].name;
    }
}

TEST_P(ModelInterchange, TheCheckpointOfStepZeroHoldsTheWeightsAndNoMomentum) {
    write_tensors(20000);
    ImportOptions chosen = options();
    chosen.shard_bytes = 8000;  // many files
    chosen.settings.emplace_back("train.optimizer.name=muon");
    const ImportResult imported = import_model(chosen);
    const auto verified = checkpoint::verify_checkpoint(imported.checkpoint);
    EXPECT_EQ(verified.faults, std::vector<std::string>{});
    EXPECT_GT(verified.files, 6U);
    const checkpoint::CheckpointReader reader(imported.checkpoint);
    const auto state = checkpoint::run_state_from_json(reader.state());
    EXPECT_TRUE(checkpoint::is_import(state));
    EXPECT_TRUE(reader.has({"layers.0.attention.k.weight", "momentum"}));
    EXPECT_TRUE(reader.has({"embedding.weight", "exp_avg_sq"}));
    EXPECT_FALSE(reader.has({"layers.0.attention.k.weight", "exp_avg"}));
    // Row 5, column 2 of k: in Llama an element of k itself, in GPT-2 the transposed one of the fused matrix.
    const checkpoint::Box box{{5, 2}, {1, 1}};
    float found = 0;
    reader.read({"layers.1.attention.k.weight", "param"}, box, &found);
    const std::string name = llama() ? "model.layers.1.self_attn.k_proj.weight" : "transformer.h.1.attn.c_attn.weight";
    const auto number = static_cast<std::size_t>(&tensor(name) - tensors_.data());
    EXPECT_EQ(found, value_of(number, llama() ? 5 * 24 + 2 : 2 * 72 + 24 + 5));
    reader.read({"layers.1.attention.k.weight", "momentum"}, box, &found);
    EXPECT_EQ(found, 0.0F);
}

TEST_P(ModelInterchange, AnImportIsBoundToItsTokenizerAndToNoCorpusSeedOrWorld) {
    write_tensors();
    const checkpoint::CheckpointReader reader(import_model(options()).checkpoint);
    const auto saved = checkpoint::run_state_from_json(reader.state());
    checkpoint::RunState now = saved;
    now.seed = 99;
    now.data_digest = "any";
    now.sequence_length = 8;
    now.workers = 7;
    now.kernels = "any";
    checkpoint::check_resumable(saved, now);
    EXPECT_EQ(checkpoint::compare_world(saved, now).level, checkpoint::Exactness::exact);
    now.tokenizer = "other";
    EXPECT_THROW(checkpoint::check_resumable(saved, now), ConfigError);
    checkpoint::RunState trained = saved;  // from the first step on it is a run as any other
    trained.step = 1;
    trained.position = 12;
    now.tokenizer = saved.tokenizer;
    EXPECT_THROW(checkpoint::check_resumable(trained, now), ConfigError);
}

TEST_P(ModelInterchange, HalfPrecisionBecomesFp32AndBf16ComesBackAsItWent) {
    for (SafeTensor& known : tensors_) known.dtype = "BF16";
    write_tensors(30000);
    const ImportResult imported = import_model(options());
    export_model({.checkpoint = imported.checkpoint, .directory = root_ / "out", .dtype = "bf16"});
    const checkpoint::SafetensorsDirectory out(root_ / "out");
    for (std::size_t i = 0; i < tensors_.size(); ++i) {
        std::vector<std::byte> found(bytes_of(tensors_[i], i).size());
        out.read(*out.find(tensors_[i].name), 0, found);
        EXPECT_EQ(found, bytes_of(tensors_[i], i)) << tensors_[i].name;
    }
    EXPECT_NE(monitoring::read_text(root_ / "out" / "config.json").find("bfloat16"), std::string::npos);
}

TEST_P(ModelInterchange, TensorsThatAreNotTheModelsAreNamed) {
    const std::string norm = llama() ? "model.layers.1.input_layernorm.weight" : "transformer.h.1.ln_1.weight";
    const SafeTensor good = tensor(norm);
    tensor(norm).shape = {25};
    write_tensors();
    expect_refusal(fmt::format("tensor '{}': expected F32, BF16 or F16 [24], found F32 [25]", norm));
    tensor(norm) = good;
    tensor(norm).dtype = "I32";
    write_tensors();
    expect_refusal(fmt::format("tensor '{}': expected F32, BF16 or F16 [24], found I32 [24]", norm));
    tensor(norm) = good;
    tensor(norm).name = "stranger.weight";
    write_tensors();
    expect_refusal(fmt::format("tensor '{}' [24] is missing", norm));
    expect_refusal("tensor 'stranger.weight' [24] is none of this model");
}

TEST_P(ModelInterchange, AnotherVocabularyIsRefused) {
    write_tensors();
    std::ofstream(model() / "tokenizer.json") << "{}";
    expect_refusal("tokenizer.json");
    ImportOptions bytes = options();
    bytes.settings.emplace_back("data.tokenizer=bytes");
    EXPECT_NE(refusal(bytes).find("was made with another tokenizer ('tokenizer.json' is there)"), std::string::npos);
    fs::remove(model() / "tokenizer.json");
    write_config([](auto& config) { config["vocab_size"] = 50257; });
    expect_refusal("vocab_size is 50257, but data.tokenizer = 'bytes' has 257 tokens");
    write_config([](auto& config) { config["vocab_size"] = 200; });
    expect_refusal("vocab_size is 200, but");
    std::ofstream(model() / "tokenizer_config.json") << foreign_tokenizer_config({"other", 200, 199, ""}, 16).dump();
    expect_refusal("states the tokenizer 'other'");
}

TEST_P(ModelInterchange, RowsThatAWiderEmbeddingPadsAreKept) {
    foreign_.vocabulary = 320;
    tensors_.clear();
    for (const ForeignTensor& known : foreign_tensors(foreign_.model, 320, 16))
        tensors_.push_back({.name = known.name, .dtype = "F32", .shape = known.shape});
    write_config([](auto&) {});
    write_tensors();
    std::ofstream(model() / "tokenizer_config.json") << foreign_tokenizer_config({"bytes", 257, 256, ""}, 16).dump();
    export_model({.checkpoint = import_model(options()).checkpoint, .directory = root_ / "out"});
    for (const char* file : {"model.safetensors", "config.json"})
        EXPECT_EQ(monitoring::read_text(root_ / "out" / file), monitoring::read_text(model() / file)) << file;
}

TEST_P(ModelInterchange, ARunFileThatSaysOtherwiseIsRefused) {
    write_tensors();
    std::ofstream(root_ / "run.toml") << "[[data.sources]]\npath = 'text.txt'\n[model]\nlayers = 3\n";
    ImportOptions chosen = options();
    chosen.settings = {};
    chosen.run_file = root_ / "run.toml";
    EXPECT_NE(refusal(chosen).find("model.layers = 3, but the model to be imported has 2: leave it out"),
              std::string::npos);
    chosen.settings = {"model.layers=2", "data.sequence_length=8"};
    if (llama()) {
        EXPECT_EQ(import_model(chosen).model, "llama 2x24") << "rotary positions fit any length";
    } else {
        EXPECT_NE(refusal(chosen).find("data.sequence_length = 8, but the model to be imported has 16"),
                  std::string::npos);
    }
    chosen.settings = {"model.layers=2"};
    chosen.run_dir = root_ / "other";
    EXPECT_EQ(import_model(chosen).parameters, [&] {
        std::uint64_t elements = 0;
        for (const SafeTensor& known : tensors_)
            elements += static_cast<std::uint64_t>(checkpoint::num_elements(known.shape));
        return elements;
    }());
}

TEST_P(ModelInterchange, WithoutACorpusOrIntoAnotherRunNothingIsImported) {
    write_tensors();
    ImportOptions chosen = options();
    chosen.settings = {};
    EXPECT_NE(refusal(chosen).find("data.sources is empty"), std::string::npos);
    import_model(options());
    try {
        import_model(options());
        FAIL() << "a run was written over";
    } catch (const ConfigError& error) {
        EXPECT_NE(std::string(error.what()).find("it holds a run; name another directory"), std::string::npos);
    }
    fs::remove(options().run_dir / "run.toml");  // as when the first had been cut off
    EXPECT_EQ(checkpoint::list_checkpoints(options().run_dir).size(), 1U);
    const auto again = import_model(options());
    EXPECT_EQ(checkpoint::list_checkpoints(options().run_dir).front().directory, again.checkpoint);
    chosen.directory = root_ / "nowhere";
    chosen.run_dir = root_ / "new";
    EXPECT_NE(refusal(chosen).find("config.json"), std::string::npos);
}

TEST_P(ModelInterchange, HeadsAreTiedOrNotAsTheFamilyHasIt) {
    if (llama()) {
        tensors_.pop_back();  // lm_head.weight
        write_tensors();
        expect_refusal("tensor 'lm_head.weight' [257,24] is missing");
        write_config([](auto& config) { config["tie_word_embeddings"] = true; });
        const ImportResult imported = import_model(options());
        ASSERT_EQ(imported.notes.size(), 1U);
        EXPECT_NE(imported.notes[0].find("starts as a copy"), std::string::npos);
        export_model({.checkpoint = imported.checkpoint, .directory = root_ / "out"});
        const checkpoint::SafetensorsDirectory out(root_ / "out");
        std::vector<std::byte> head(bytes_of(tensors_[0], 0).size());
        out.read(*out.find("lm_head.weight"), 0, head);
        EXPECT_EQ(head, bytes_of(tensors_[0], 0));
        tensors_.push_back({.name = "lm_head.weight", .dtype = "F32", .shape = {257, 24}});
        write_tensors();
        expect_refusal("'lm_head.weight' differs from 'model.embed_tokens.weight'", "another");
        return;
    }
    write_tensors();
    write_config([](auto& config) { config["tie_word_embeddings"] = false; });
    expect_refusal("'lm_head.weight' is missing");
    tensors_.push_back({.name = "lm_head.weight", .dtype = "F32", .shape = {257, 24}});
    write_tensors();
    expect_refusal("'lm_head.weight' differs from 'transformer.wte.weight'");
}

TEST_P(ModelInterchange, NamesOfTheBareModelAreItsNamesToo) {
    for (SafeTensor& known : tensors_) known.name = foreign_name_in_base_model(GetParam(), known.name);
    tensors_.push_back(
        {.name = llama() ? "layers.0.self_attn.rotary_emb.inv_freq" : "h.0.attn.bias", .dtype = "F32", .shape = {3}});
    write_tensors();
    const ImportResult imported = import_model(options());
    ASSERT_EQ(imported.notes.size(), 1U);
    EXPECT_EQ(imported.notes[0], "1 constants (masks, frequencies) are left out");
    export_model({.checkpoint = imported.checkpoint, .directory = root_ / "out"});
    EXPECT_EQ(checkpoint::SafetensorsDirectory(root_ / "out").tensors().size(), tensors_.size() - 1);
}

TEST_P(ModelInterchange, ADamagedCheckpointIsNotExportedAndLeavesNothing) {
    write_tensors();
    const ImportResult imported = import_model(options());
    {
        monitoring::File file = monitoring::File::open_write(imported.checkpoint / "shard-00000.h5");
        const std::byte flipped{0x55};
        file.write_at(file.size() - 1, {&flipped, 1});
    }
    EXPECT_THROW(export_model({.checkpoint = imported.checkpoint, .directory = root_ / "parent" / "out"}),
                 CheckpointError);
    EXPECT_TRUE(fs::is_empty(root_ / "parent"));
}

TEST_P(ModelInterchange, ADirectoryThatHoldsSomethingIsNotWrittenInto) {
    write_tensors();
    const ImportResult imported = import_model(options());
    EXPECT_THROW(export_model({.checkpoint = imported.checkpoint, .directory = model()}), IoError);
    EXPECT_THROW(export_model({.checkpoint = imported.checkpoint, .directory = root_ / "x", .dtype = "f8"}),
                 UsageError);
    fs::create_directories(root_ / "empty");
    EXPECT_EQ(export_model({.checkpoint = imported.checkpoint, .directory = root_ / "empty"}).files, 1U);
}

INSTANTIATE_TEST_SUITE_P(Families, ModelInterchange, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& family) {
                             return std::string(family.param == ModelLayout::gpt2 ? "Gpt2" : "Llama");
                         });

}  // namespace
}  // namespace kiban::coordinator
