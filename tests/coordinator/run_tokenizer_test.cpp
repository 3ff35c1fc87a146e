// SPDX-License-Identifier: Apache-2.0
// The tokenizer of a run leaves with its weights and comes back with them.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>

#include "checkpoint/reader.h"
#include "checkpoint/safetensors_directory.h"
#include "checkpoint/state.h"
#include "coordinator/job/interchange.h"
#include "coordinator/job/interchange_config.h"
#include "coordinator/run/export_model.h"
#include "coordinator/run/import_model.h"
#include "coordinator/run/run_directory.h"
#include "data/prepare.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

constexpr std::int64_t kTokens = 300;

class TokenizerOfARun : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "kiban-run-tokenizer-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        root_ = name;
        std::string text;
        const std::vector<std::string> words = {"coordinator", "worker", "checkpoint", "gradient", "embedding",
                                                "tokenizer",   "corpus", "schedule",   "momentum", "certificate"};
        for (int line = 0; line < 200; ++line)
            text += fmt::format("line {} of {} {}\n", line, words[static_cast<std::size_t>(line) % 10],
                                words[static_cast<std::size_t>(line) / 10 % 10]);
        std::ofstream(root_ / "text.txt") << text;
        corpus_ = prepare(fmt::format("bpe:{}", kTokens));
        write_model(kTokens);
    }
    void TearDown() override { fs::remove_all(root_); }

    data::Manifest prepare(const std::string& tokenizer) const {
        data::DataConfig config;
        config.tokenizer = tokenizer;
        config.sources.resize(1);
        config.sources[0].path = "text.txt";
        return data::prepare_here(config, root_, root_ / "corpora");
    }

    // A model of two layers with `rows` embeddings, and the corpus' tokenizer beside it.
    void write_model(std::int64_t rows) const {
        ForeignModel foreign;
        foreign.model.layout = ModelLayout::llama;
        foreign.model.layers = 2;
        foreign.model.d_model = 16;
        foreign.model.heads = foreign.model.kv_heads = 2;
        foreign.model.d_hidden = 24;
        foreign.vocabulary = rows;
        foreign.sequence_length = 16;
        fs::remove_all(model());
        fs::create_directories(model());
        std::ofstream(model() / "config.json") << foreign_config(foreign, "float32", 0).dump(2) << "\n";
        std::vector<checkpoint::SafeTensor> tensors;
        for (const ForeignTensor& tensor : foreign_tensors(foreign.model, rows, foreign.sequence_length))
            tensors.push_back({.name = tensor.name, .dtype = "F32", .shape = tensor.shape});
        checkpoint::SafetensorsDirectoryWriter writer(model(), tensors, 1u << 30, {{"format", "pt"}});
        for (const checkpoint::SafeTensor& tensor : tensors) {
            const std::vector<float> values(static_cast<std::size_t>(checkpoint::num_elements(tensor.shape)), 0.5F);
            writer.append(std::as_bytes(std::span(values)));
        }
        writer.close();
        fs::copy_file(corpus_.directory / "tokenizer.json", model() / "tokenizer.json");
    }

    fs::path model() const { return root_ / "model"; }
    fs::path run() const { return root_ / "run"; }

    ImportOptions options() const {
        ImportOptions options;
        options.directory = model();
        options.run_dir = run();
        options.settings = {"data.sources.0.path=text.txt"};
        return options;
    }

    template <typename Work>
    static std::string refusal(const Work& work) {
        try {
            work();
        } catch (const ConfigError& error) {
            return error.what();
        }
        return "nothing was refused";
    }

    fs::path root_;
    data::Manifest corpus_;
};

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST_F(TokenizerOfARun, ComesWithAnImportAndLeavesWithAnExport) {
    const ImportResult imported = import_model(options());
    fs::remove_all(model());  // the run has its own copy
    const ExportResult exported = export_model({.checkpoint = imported.checkpoint, .directory = root_ / "out"});
    EXPECT_EQ(exported.step, 0U);
    const std::string json = monitoring::read_text(corpus_.directory / "tokenizer.json");
    EXPECT_EQ(monitoring::read_text(run() / "tokenizer.json"), json);
    EXPECT_EQ(monitoring::read_text(root_ / "out" / "tokenizer.json"), json);
    const auto config = nlohmann::json::parse(monitoring::read_text(root_ / "out" / "config.json"));
    EXPECT_EQ(config.at("vocab_size"), kTokens);
    const auto tokenizer = data::Tokenizer::from_file(root_ / "out" / "tokenizer.json");
    EXPECT_EQ(config.at("eos_token_id"), tokenizer.end_of_document());
    const auto described = nlohmann::json::parse(monitoring::read_text(root_ / "out" / "tokenizer_config.json"));
    EXPECT_EQ(described.at("tokenizer_class"), "PreTrainedTokenizerFast");
    EXPECT_EQ(described.at("eos_token"), data::Tokenizer::kTrainedEnd);
    EXPECT_EQ(described.at("kiban").at("tokens"), kTokens);
}

TEST_F(TokenizerOfARun, IsFoundInTheCorpusOrMissedByItsDigest) {
    const ImportResult imported = import_model(options());
    const ExportOptions wanted{.checkpoint = imported.checkpoint, .directory = root_ / "out"};
    fs::remove(run() / "tokenizer.json");
    EXPECT_TRUE(contains(refusal([&] { export_model(wanted); }),
                         "expected a tokenizer.json with digest " + corpus_.tokenizer_sha256));
    EXPECT_FALSE(fs::exists(wanted.directory));
    write_corpus_reference(RunDirectory(run()), {corpus_.directory / "manifest.json", corpus_.digest()});
    EXPECT_EQ(export_model(wanted).step, 0U);
    std::ofstream(corpus_.directory / "tokenizer.json", std::ios::app) << "\n";
    const ExportOptions again{.checkpoint = imported.checkpoint, .directory = root_ / "again"};
    EXPECT_TRUE(contains(refusal([&] { export_model(again); }), "is gone"));
}

TEST_F(TokenizerOfARun, BindsWhatIsTrainedFromAnImport) {
    const checkpoint::CheckpointReader reader(import_model(options()).checkpoint);
    const auto saved = checkpoint::run_state_from_json(reader.state());
    EXPECT_EQ(saved.tokenizer_sha256, corpus_.tokenizer_sha256);
    checkpoint::RunState now = saved;
    now.data_digest = "any";
    checkpoint::check_resumable(saved, now);
    now.tokenizer_sha256 = "other";
    EXPECT_TRUE(contains(refusal([&] { checkpoint::check_resumable(saved, now); }), "tokenizer digest"));
}

TEST_F(TokenizerOfARun, IsNotReplacedByAnother) {
    ImportOptions chosen = options();
    chosen.settings.emplace_back("data.tokenizer=bpe:300");
    EXPECT_TRUE(contains(refusal([&] { import_model(chosen); }), "'bpe:300' would be trained anew"));
    chosen.settings.back() = "data.tokenizer=bytes";
    EXPECT_TRUE(contains(refusal([&] { import_model(chosen); }), "'tokenizer.json' is there"));
    const fs::path other = prepare("bpe:280").directory / "tokenizer.json";
    chosen.settings.back() = "data.tokenizer=" + other.string();
    EXPECT_TRUE(contains(refusal([&] { import_model(chosen); }), "is not the tokenizer of the model"));
    write_model(kTokens - 1);
    EXPECT_TRUE(contains(refusal([&] { import_model(options()); }), "vocab_size is 299, but"));
    EXPECT_FALSE(fs::exists(run() / "run.toml"));
}

}  // namespace
}  // namespace kiban::coordinator
