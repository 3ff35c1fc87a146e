// SPDX-License-Identifier: Apache-2.0
// How fast documents are looked at before they become tokens, on the text that this machine has.
//
//   privacy_bench [DIRECTORY]: MB/s with one thread and with two; default /usr/share/doc and /usr/include
//   privacy_bench prepare [DIRECTORY]: only the last line, the whole way from JSONL.zst to shards
//   privacy_bench write OUT MEGABYTES DIRECTORY...: so much text of the directories as JSONL.zst for prepare.sh
#include <fmt/format.h>
#include <nlohmann/json.hpp>
#include <unistd.h>
#include <zstd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "data/bpe/unicode.h"
#include "data/clean/filter.h"
#include "data/clean/min_hash.h"
#include "data/clean/normalise.h"
#include "data/prepare.h"
#include "data/privacy/anonymiser.h"
#include "data/privacy/detect.h"
#include "monitoring/file.h"

namespace {

namespace fs = std::filesystem;
using namespace kiban::data;

constexpr std::size_t kMostBytes = 64u << 20;
constexpr double kGoal = 30;  // MB/s of text from JSONL.zst to shards, on 2 cores

double processor_seconds() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

std::vector<std::string> texts_of(const std::vector<fs::path>& directories, std::size_t most_bytes = kMostBytes) {
    std::vector<std::string> texts;
    std::size_t bytes = 0;
    std::error_code error;
    for (const fs::path& directory : directories) {
        for (const auto& entry : fs::recursive_directory_iterator(directory, error)) {
            if (!entry.is_regular_file(error) || entry.path().extension() == ".gz") continue;
            std::string text = kiban::monitoring::read_text(entry.path());
            if (text.find('\0') != std::string::npos || !is_utf8(text)) continue;  // pictures, other character sets
            bytes += text.size();
            texts.push_back(std::move(text));
            if (bytes > most_bytes) return texts;
        }
    }
    return texts;
}

// MB/s of all texts, shared among `threads`: the best of three.
void measure(const char* what, const std::vector<std::string>& texts, std::size_t threads,
             const std::function<std::size_t(std::string&)>& work) {
    std::size_t bytes = 0;
    for (const std::string& text : texts) bytes += text.size();
    double best = 0;
    std::size_t result = 0;
    for (int round = 0; round < 3; ++round) {
        std::vector<std::string> copies = texts;
        std::vector<std::size_t> results(threads);
        const auto start = std::chrono::steady_clock::now();
        {
            std::vector<std::jthread> workers;
            for (std::size_t worker = 0; worker < threads; ++worker) {
                workers.emplace_back([&, worker] {
                    std::size_t sum = 0;
                    for (std::size_t i = worker; i < copies.size(); i += threads) sum += work(copies[i]);
                    results[worker] = sum;
                });
            }
        }
        const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
        best = std::max(best, static_cast<double>(bytes) / 1e6 / taken.count());
        result = std::accumulate(results.begin(), results.end(), std::size_t{0});
    }
    fmt::print("{:<10} {} thread{} {:8.0f} MB/s  ({} in {:.1f} MB)\n", what, threads, threads == 1 ? " " : "s", best,
               result, static_cast<double>(bytes) / 1e6);
    std::fflush(stdout);
}

// The texts as compressed lines of JSON, `files` of them, in `directory`. Gives the bytes of text.
std::size_t write_lines(const std::vector<std::string>& texts, std::size_t files, const fs::path& directory) {
    std::size_t bytes = 0;
    for (std::size_t file = 0; file < files; ++file) {
        std::string lines;
        for (std::size_t i = file; i < texts.size(); i += files) {
            const nlohmann::json line{{"text", texts[i]}};
            lines += line.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n";
            bytes += texts[i].size();
        }
        std::string packed(ZSTD_compressBound(lines.size()), '\0');
        packed.resize(ZSTD_compress(packed.data(), packed.size(), lines.data(), lines.size(), 3));
        std::ofstream(directory / fmt::format("{}.jsonl.zst", file), std::ios::binary) << packed;
    }
    return bytes;
}

void run_tasks(Preparation& preparation, std::mutex& mutex) {
    for (;;) {
        std::unique_lock lock(mutex);
        if (preparation.finished()) return;
        const auto task = preparation.next_task();
        lock.unlock();
        if (!task) {
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
            continue;
        }
        const nlohmann::json result = run_task(*task);
        lock.lock();
        preparation.complete(task->at("id").get<std::uint64_t>(), result);
    }
}

// From compressed JSONL to shards of bytes, each step of cleaning asked for, with two threads.
// Whether it meets the goal, by processor time: the machine may be busy with other things.
bool measure_preparation(const std::vector<std::string>& texts, const FilterConfig& filter,
                         const AnonymiseConfig& anonymise) {
    const fs::path directory = fs::temp_directory_path() / fmt::format("kiban-privacy-bench-{}", ::getpid());
    fs::create_directories(directory / "in");
    const std::size_t bytes = write_lines(texts, 16, directory / "in");
    DataConfig config;
    config.sources.emplace_back().path = "in";
    config.clean.normalise = "text";
    config.clean.deduplicate = "near";
    config.clean.filter = filter;
    config.clean.anonymise = anonymise;
    const auto start = std::chrono::steady_clock::now();
    const double busy_before = processor_seconds();
    Preparation preparation(config, directory, directory / "corpora");
    std::mutex mutex;
    {
        const std::jthread other([&] { run_tasks(preparation, mutex); });
        run_tasks(preparation, mutex);
    }
    const std::chrono::duration<double> taken = std::chrono::steady_clock::now() - start;
    const double busy = processor_seconds() - busy_before;
    const Manifest manifest = Manifest::load(preparation.manifest_file());
    const double megabytes = static_cast<double>(bytes) / 1e6;
    fmt::print("{:<10} 2 threads {:8.0f} MB/s, {:.0f} by processor time  ({} of {} documents kept)\n", "prepare",
               megabytes / taken.count(), megabytes / (busy / 2), manifest.sources[0].documents,
               manifest.sources[0].cleaned.documents);
    fs::remove_all(directory);
    return megabytes / (busy / 2) >= kGoal;
}

}  // namespace

int main(int argc, char** argv) {
    if (argc > 4 && std::string_view(argv[1]) == "write") {
        const auto texts = texts_of({argv + 4, argv + argc}, std::strtoull(argv[3], nullptr, 10) * 1'000'000);
        fs::create_directories(argv[2]);
        fmt::print("{}\n", write_lines(texts, 16, argv[2]));
        return 0;
    }
    const bool only_prepare = argc > 1 && std::string_view(argv[1]) == "prepare";
    const int directory = only_prepare ? 2 : 1;
    const auto texts = texts_of(argc > directory ? std::vector<fs::path>{argv[directory]}
                                                 : std::vector<fs::path>{"/usr/share/doc", "/usr/include"});
    AnonymiseConfig redact;
    redact.all = "redact";
    const Anonymiser anonymiser(redact);
    const FilterConfig gopher{.min_words = 50,
                              .max_words = 100'000,
                              .min_word_length = 3,
                              .max_word_length = 10,
                              .max_symbols = 0.1,
                              .max_bullet_lines = 0.9,
                              .max_ellipsis_lines = 0.3,
                              .min_letter_words = 0.8,
                              .min_stop_words = 2,
                              .max_repeated_lines = 0.3,
                              .max_repeated_line_bytes = 0.2};
    const auto redacted_values = [&](std::string& text) {
        std::map<std::string, Redaction> redacted;
        anonymiser.apply(text, redacted);
        std::size_t values = 0;
        for (const auto& [kind, redaction] : redacted) values += redaction.values;
        return values;
    };
    for (const std::size_t threads : {1u, 2u}) {
        if (only_prepare) break;
        measure("normalise", texts, threads,
                [](std::string& text) -> std::size_t { return normalise_text(text).changed() ? 1 : 0; });
        measure("filter", texts, threads,
                [&](std::string& text) -> std::size_t { return broken_rule(gopher, text).empty() ? 0 : 1; });
        measure("find", texts, threads, [](std::string& text) { return find_personal(text).size(); });
        measure("redact", texts, threads, redacted_values);
        measure("bands", texts, threads, [](std::string& text) -> std::size_t { return band_keys(text)[0] % 2; });
    }
    return measure_preparation(texts, gopher, redact) ? 0 : 1;
}
