// SPDX-License-Identifier: Apache-2.0
// Speed of data/: the order, reading rows, tokenizing, whole preparations. Files go to the temporary directory
// (TMPDIR).
#include <benchmark/benchmark.h>
#include <nlohmann/json.hpp>

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <random>

#include "data/corpus.h"
#include "data/prepare.h"
#include "data/shard.h"

namespace kiban::data {
namespace {

constexpr std::size_t kTextBytes = 64u << 20;

class Inputs {  // one large text and the same text as JSONL documents of 2 KiB, made once
  public:
    Inputs() {
        std::string name = (std::filesystem::temp_directory_path() / "kiban_bench_XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        directory = name;
        std::mt19937_64 random(1);
        std::string text(kTextBytes, ' ');
        for (char& letter : text) letter = random() % 6 == 0 ? ' ' : static_cast<char>('a' + random() % 26);
        std::ofstream(directory / "text.txt", std::ios::binary) << text;
        std::ofstream lines(directory / "lines.jsonl", std::ios::binary);
        for (std::size_t begin = 0; begin < text.size(); begin += 2048) {
            lines << nlohmann::json{{"id", begin}, {"text", text.substr(begin, 2048)}}.dump() << "\n";
        }
    }
    ~Inputs() { std::filesystem::remove_all(directory); }

    static DataConfig config(const std::string& file) {
        DataConfig config;
        config.holdout.fraction = 0;
        config.sources.emplace_back().path = file;
        return config;
    }

    std::filesystem::path directory;
};

const Inputs& inputs() {
    static const Inputs made;
    return made;
}

void order_set_up(benchmark::State& state) {
    for (auto _ : state) {
        SampleOrder order({{"a", 700'000'000, 0.7}, {"b", 200'000'000, 0.2}, {"c", 100'000'000, 0.1}}, 1337);
        benchmark::DoNotOptimize(order);
    }
}
BENCHMARK(order_set_up)->Unit(benchmark::kMillisecond);

void order_at(benchmark::State& state) {
    const SampleOrder order({{"a", 700'000'000, 0.7}, {"b", 200'000'000, 0.2}, {"c", 100'000'000, 0.1}}, 1337);
    std::uint64_t position = 0;
    for (auto _ : state) benchmark::DoNotOptimize(order.at(position += 977));
}
BENCHMARK(order_at);

void order_position_of(benchmark::State& state) {
    const SampleOrder order({{"a", 700'000'000, 0.7}, {"b", 200'000'000, 0.2}, {"c", 100'000'000, 0.1}}, 1337);
    std::uint64_t row = 0;
    for (auto _ : state) benchmark::DoNotOptimize(order.position_of({0, 3, (row += 977) % 700'000'000}));
}
BENCHMARK(order_position_of);

void read_rows(benchmark::State& state) {
    const auto length = static_cast<std::uint32_t>(state.range(0));
    const Manifest manifest =
        prepare_here(Inputs::config("text.txt"), inputs().directory, inputs().directory / "corpora");
    const Corpus corpus(manifest, {1}, length, 1337);
    for (const ManifestShard& shard : manifest.shards) Shard(manifest.directory / shard.file).verify();
    const std::uint64_t rows = 65536 / length;
    std::vector<std::int64_t> ids(rows * length), targets(rows * length);
    std::uint64_t position = 0;
    for (auto _ : state) {
        corpus.read_train({position, rows}, ids, targets);
        position += rows;
        benchmark::ClobberMemory();
    }
    state.counters["tokens"] = benchmark::Counter(static_cast<double>(position * length), benchmark::Counter::kIsRate);
}
BENCHMARK(read_rows)->Arg(64)->Arg(1024)->Arg(4096);

void prepare(benchmark::State& state, const std::string& file, bool first_wave_only) {
    const auto corpora = inputs().directory / "bench";
    for (auto _ : state) {
        Preparation preparation(Inputs::config(file), inputs().directory, corpora);
        while (const auto task = preparation.next_task()) {
            if (first_wave_only && task->at("kind") == "shard") break;
            preparation.complete(task->at("id").get<std::uint64_t>(), run_task(*task));
        }
        state.PauseTiming();
        std::filesystem::remove_all(corpora);
        state.ResumeTiming();
    }
    const auto bytes = static_cast<double>(std::filesystem::file_size(inputs().directory / file));
    state.counters["bytes"] = benchmark::Counter(bytes, benchmark::Counter::kIsIterationInvariantRate);
}
BENCHMARK_CAPTURE(prepare, tokenize_text, "text.txt", true)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(prepare, tokenize_jsonl, "lines.jsonl", true)->Unit(benchmark::kMillisecond)->UseRealTime();
BENCHMARK_CAPTURE(prepare, all_of_text, "text.txt", false)->Unit(benchmark::kMillisecond)->UseRealTime();

}  // namespace
}  // namespace kiban::data

BENCHMARK_MAIN();
