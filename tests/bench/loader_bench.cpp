// SPDX-License-Identifier: Apache-2.0
// What the loader takes: the order's set-up, rows read, and the first row after a resume; medians of five, processor
// time of one thread, files in the page cache. Files go to the temporary directory (TMPDIR). Fails when a figure misses
// its goal.
#include <malloc.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <fstream>
#include <functional>
#include <random>

#include "data/corpus.h"
#include "data/prepare.h"
#include "data/shard.h"

namespace kiban::data {
namespace {

constexpr std::size_t kTextBytes = 64u << 20;

bool missed = false;

void goal(bool met, const char* text) {
    std::printf("  %s: %s\n", met ? "met" : "MISSED", text);
    missed = missed || !met;
}

// Of this thread's processor time, so that a busy machine says the same: nothing here waits.
double seconds_now() {
    timespec now{};
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

double median_seconds(const std::function<void()>& work) {
    std::vector<double> times(5);
    for (double& time : times) {
        const double begin = seconds_now();
        work();
        time = seconds_now() - begin;
    }
    std::ranges::sort(times);
    return times[2];
}

class Inputs {  // one text, and documents of many lengths (about 1.5 KiB) as JSONL
  public:
    Inputs() {
        std::string name = (std::filesystem::temp_directory_path() / "kiban_loader_XXXXXX").string();
        if (::mkdtemp(name.data()) == nullptr) std::abort();
        directory = name;
        std::mt19937_64 random(1);
        std::string text(kTextBytes, ' ');
        for (char& letter : text) letter = random() % 6 == 0 ? ' ' : static_cast<char>('a' + random() % 26);
        std::ofstream(directory / "text.txt", std::ios::binary) << text;
        std::ofstream lines(directory / "lines.jsonl", std::ios::binary);
        std::lognormal_distribution<double> length(6.8, 1);
        for (std::size_t begin = 0; begin < text.size();) {
            const auto bytes = static_cast<std::size_t>(1 + length(random));
            lines << nlohmann::json{{"text", text.substr(begin, bytes)}}.dump() << "\n";
            begin += bytes;
        }
    }
    Inputs(const Inputs&) = delete;
    Inputs& operator=(const Inputs&) = delete;
    ~Inputs() { std::filesystem::remove_all(directory); }

    Manifest prepared(const std::string& file) const {
        DataConfig config;
        config.holdout.fraction = 0;
        config.sources.emplace_back().path = file;
        const Manifest manifest = prepare_here(config, directory, directory / "corpora");
        for (const ManifestShard& shard : manifest.shards) Shard(manifest.directory / shard.file).verify();
        return manifest;
    }

    std::filesystem::path directory;
};

std::size_t order_bytes(std::uint64_t rows) {
    const std::size_t before = mallinfo2().uordblks;
    const SampleOrder order({{"a", 7 * rows, 0.7}, {"b", 2 * rows, 0.2}, {"c", rows, 0.1}}, 1337);
    return mallinfo2().uordblks - before;
}

void order_bench() {
    constexpr std::uint64_t kTenth = 100'000'000;
    std::uint64_t sum = 0;
    const double seconds = median_seconds([&] {
        const SampleOrder order({{"a", 7 * kTenth, 0.7}, {"b", 2 * kTenth, 0.2}, {"c", kTenth, 0.1}}, 1337);
        sum += order.at(123'456'789).row;
    });
    std::printf("order of 10^9 rows in three sources, with its first row: %.3f ms, %zu bytes (of 10^3 rows: %zu)\n",
                1e3 * seconds, order_bytes(kTenth), order_bytes(100));
    goal(sum != 0 && seconds <= 0.050, "at most 50 ms");
    goal(order_bytes(kTenth) == order_bytes(100), "the same memory however many rows");
}

void read_bench(const Manifest& manifest, const char* what, std::uint32_t length, RowLayout layout) {
    const Corpus corpus(manifest, {1}, length, 1337, layout);
    const std::uint64_t rows = (std::uint64_t{1} << 18) / length;
    std::vector<std::int64_t> ids(rows * length);
    std::vector<std::int64_t> targets(ids.size());
    std::vector<std::int32_t> positions(ids.size());
    std::uint64_t position = 0;
    constexpr int kBatches = 100;
    const auto read = [&] {
        for (int batch = 0; batch < kBatches; ++batch, position += rows)
            corpus.read_train({position, rows}, ids, targets, positions);
    };
    read();
    const double tokens = static_cast<double>(kBatches * ids.size()) / median_seconds(read);
    std::printf("rows of %u tokens, %s: %.0f million tokens/s\n", length, what, tokens / 1e6);
    if (length >= 1024) goal(tokens >= 500e6, "at least 500 million tokens/s");
}

void resume_bench(const Manifest& manifest, const char* what, RowLayout layout, double most_ms) {
    std::vector<std::int64_t> ids(2048);
    std::vector<std::int64_t> targets(ids.size());
    std::vector<std::int32_t> positions(ids.size());
    for (const std::uint64_t position : {std::uint64_t{0}, std::uint64_t{1'000'000'000}}) {
        const double ms =
            1e3 * median_seconds([&] {
                const Corpus corpus(Manifest::load(manifest.directory / "manifest.json"), {1}, 2048, 1337, layout);
                corpus.read_train({position, 1}, ids, targets, positions);
            });
        std::printf("first row after a resume at row %llu, %s, manifest and shards opened anew: %.2f ms\n",
                    static_cast<unsigned long long>(position), what, ms);
        if (most_ms > 0) goal(ms <= most_ms, "at most 10 ms");
    }
}

void run() {
    order_bench();
    const Inputs inputs;
    const Manifest text = inputs.prepared("text.txt");
    const Manifest documents = inputs.prepared("lines.jsonl");
    std::printf("%llu documents\n", static_cast<unsigned long long>(documents.sources[0].documents));
    for (const std::uint32_t length : {64u, 1024u, 4096u}) {
        read_bench(text, "one text", length, {});
        read_bench(documents, "documents, concat", length, {});
        read_bench(documents, "documents, concat, apart", length, {Packing::concat, true});
        read_bench(documents, "documents, best-fit", length, {Packing::best_fit, true});
    }
    resume_bench(documents, "concat", {}, 10);
    resume_bench(documents, "best-fit", {Packing::best_fit, true}, 10);
    const Corpus packed(documents, {1}, 2048, 1, {Packing::best_fit, true});
    const double rows = static_cast<double>(packed.train_rows()) * 2048;
    const auto targets =
        static_cast<double>(documents.sources[0].train.tokens) - static_cast<double>(documents.sources[0].documents);
    std::printf("best-fit rows of 2048 tokens: %.4f %% padding\n", 100 * (rows / targets - 1));
    goal(rows <= 1.001 * targets + 2048, "at most 0.1 % padding");
}

}  // namespace
}  // namespace kiban::data

int main() {
    kiban::data::run();
    return kiban::data::missed ? 1 : 0;
}
