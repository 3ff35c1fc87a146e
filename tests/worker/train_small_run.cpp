// SPDX-License-Identifier: Apache-2.0
#include "tests/worker/train_small_run.h"

#include <fmt/format.h>

#include <cstdlib>
#include <fstream>

#include "data/prepare.h"

namespace kiban::worker {

// Sentences with a grammar: learnable, and the same on every machine.
std::string small_text() {
    const std::vector<std::string> who = {"the cat", "a dog", "my friend", "the old captain"};
    const std::vector<std::string> what = {"sees", "follows", "remembers"};
    std::string result;
    std::uint64_t noise = 1;
    const auto pick = [&noise](const std::vector<std::string>& words) {
        noise = noise * 6364136223846793005U + 1442695040888963407U;
        return words[static_cast<std::size_t>((noise >> 33) % words.size())];
    };
    while (result.size() < 40000) result += pick(who) + " " + pick(what) + " " + pick(who) + ".\n";
    return result;
}

coordinator::RunFile small_run_file(const std::filesystem::path& directory, int workers,
                                    const std::vector<std::string>& overrides) {
    const char* kernels = std::getenv("KIBAN_TEST_KERNELS");  // the tests once more, with LibTorch's
    const std::string toml =
        fmt::format(R"(
[run]
name = "jobs"
[data]
sequence_length = {}
[[data.sources]]
path = "text.txt"
[model]
layers = 2
d_model = 32
heads = 2
[train]
batch_rows = {}
micro_batch_rows = 2
steps = 12
eval_interval_steps = 5
kernels = "{}"
[train.optimizer]
learning_rate = 3e-3
[train.schedule]
warmup_steps = 2
[checkpoint]
interval_steps = 5
[launch]
workers = {}
threads_per_worker = 1
)",
                    kSmallRunTokens, kSmallRunRows, kernels != nullptr ? kernels : "auto", workers);
    return coordinator::parse_run_file(toml, directory, "small run", overrides);
}

void prepare_small_corpus(const std::filesystem::path& directory) {
    std::ofstream(directory / "text.txt") << small_text();
    data::prepare_here(small_run_file(directory, 1).data, directory, directory / "corpora");
}

coordinator::Job small_job(const std::filesystem::path& directory, int workers,
                           const std::vector<std::string>& overrides, const std::string& checkpoint) {
    const coordinator::RunFile file = small_run_file(directory, workers, overrides);
    const std::filesystem::path manifest =
        data::Preparation(file.data, directory, directory / "corpora").manifest_file();
    return {.mode = "train",
            .run_file = coordinator::to_toml(file),
            .manifest = manifest.string(),
            .manifest_digest = data::Manifest::load(manifest).digest(),
            .checkpoint = checkpoint,
            .options = nlohmann::json::object()};
}

}  // namespace kiban::worker
