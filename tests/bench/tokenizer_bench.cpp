// SPDX-License-Identifier: Apache-2.0
// Speed of tokenizers on a text: tokenizer_bench TEXT [train]
//
// Learns a vocabulary of GPT-2's size and pattern from the text, then encodes it with one and two threads, by scanner
// and by regular expressions, and 1 MB of one letter; medians of five, in processor time. With `train`: the training of
// a run file's "bpe:32768" on the text, as tasks in two threads, with the peak of memory. Fails when a figure misses
// its goal.
#include <sys/resource.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "data/bpe/encoder.h"
#include "data/bpe/segments.h"
#include "data/bpe/train.h"
#include "data/prepare.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using Clock = std::chrono::steady_clock;

bool missed = false;

void goal(bool met, const char* text) {
    std::printf("  %s: %s\n", met ? "met" : "MISSED", text);
    missed = missed || !met;
}

double seconds_of(const std::function<void()>& work) {
    const auto begin = Clock::now();
    work();
    return std::chrono::duration<double>(Clock::now() - begin).count();
}

double processor_seconds() {
    timespec now{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return static_cast<double>(now.tv_sec) + 1e-9 * static_cast<double>(now.tv_nsec);
}

// Processor time over the threads that share it, so that a busy machine says nearly the same: encoding waits for
// nothing.
double median_seconds(unsigned threads, const std::function<void()>& work) {
    std::vector<double> times(5);
    for (double& time : times) {
        const double begin = processor_seconds();
        work();
        time = (processor_seconds() - begin) / threads;
    }
    std::ranges::sort(times);
    return times[2];
}

void for_each_segment(std::string_view text, const Segmenter::Take& take) {
    Segmenter segmenter;
    for (std::size_t at = 0; at < text.size(); at += 64u << 10) {  // as files are read
        segmenter.add(std::as_bytes(std::span(text.substr(at, 64u << 10))), take);
    }
    segmenter.end(take);
}

BpeDefinition learn(std::string_view text) {
    const auto splitter = SplitterFactory({kGpt2Pattern}).make();
    WordTable table;
    std::vector<std::uint32_t> ends(512);
    const double counting = seconds_of([&] {
        for_each_segment(text, [&](std::string_view seen, std::size_t stop) {
            splitter->begin(seen);
            std::size_t begin = 0;
            while (const std::size_t pieces = splitter->next(ends)) {
                for (std::size_t i = 0; i < pieces && begin < stop; begin = ends[i++]) {
                    table.add(seen.substr(begin, ends[i] - begin));
                }
            }
        });
    });
    WordList words;
    table.for_each_sorted([&](std::string_view word, std::uint64_t count) { words.add(word, count); });
    BpeDefinition definition;
    const double merging = seconds_of([&] { definition = train_bpe(words, 50257, kGpt2Pattern, "<|endoftext|>"); });
    std::printf("learned 50257 tokens from %zu words: counting %.1f s, merging %.1f s\n", words.size(), counting,
                merging);
    return definition;
}

std::uint64_t encode_all(const std::shared_ptr<const BpeModel>& model, std::string_view text, SplitPath path) {
    BpeEncoder encoder(model, path);
    std::vector<std::uint32_t> ids(kSegmentBytes + kContextBytes + BpeEncoder::kSlack);
    std::uint64_t tokens = 0;
    for_each_segment(
        text, [&](std::string_view seen, std::size_t stop) { tokens += encoder.encode(seen, stop, ids.data()); });
    return tokens;
}

double rate(const std::shared_ptr<const BpeModel>& model, std::string_view text, SplitPath path, unsigned threads) {
    const double seconds = median_seconds(threads, [&] {
        std::vector<std::jthread> running;
        for (unsigned i = 0; i < threads; ++i) {
            const std::string_view part = text.substr(i * (text.size() / threads), text.size() / threads);
            running.emplace_back([&model, part, path] { encode_all(model, part, path); });
        }
    });
    return static_cast<double>(text.size()) / 1e6 / seconds;
}

void compare_paths(const std::shared_ptr<const BpeModel>& model, std::string_view text) {
    BpeEncoder fast(model);
    BpeEncoder generic(model, SplitPath::generic);
    std::vector<std::uint32_t> a(kSegmentBytes + kContextBytes + BpeEncoder::kSlack);
    std::vector<std::uint32_t> b(a.size());
    bool same = true;
    bool decodes = true;
    for_each_segment(text, [&](std::string_view seen, std::size_t stop) {
        const std::size_t count = fast.encode(seen, stop, a.data());
        same = same && count == generic.encode(seen, stop, b.data()) &&
               std::equal(a.begin(), a.begin() + static_cast<std::ptrdiff_t>(count), b.begin());
        std::size_t at = 0;
        for (std::size_t i = 0; i < count; ++i) {
            const std::string& bytes = *model->bytes_of(a[i]);
            decodes = decodes && seen.substr(at, bytes.size()) == bytes;
            at += bytes.size();
        }
        decodes = decodes && at == stop;
    });
    goal(same, "scanner and regular expressions give the same ids");
    goal(decodes, "the ids decode to the text");
}

void encode_bench(const std::string& text) {
    const auto model = std::make_shared<const BpeModel>(learn(text));
    const double one = rate(model, text, SplitPath::fastest, 1);
    const double two = rate(model, text, SplitPath::fastest, 2);
    const double generic = rate(model, text, SplitPath::generic, 2);
    std::printf("encode %.0f MB: %.1f MB/s with one thread, %.1f with two; regular expressions %.1f with two\n",
                static_cast<double>(text.size()) / 1e6, one, two, generic);
    goal(two >= 80, "at least 80 MB/s with two threads");
    for (const auto& [name, letters] : {std::pair("one letter", "a"), {"underscores", "_"}, {"digits", "7"}}) {
        const double letter = rate(model, std::string(1'000'000, letters[0]), SplitPath::fastest, 1);
        std::printf("1 MB of %s: %.1f MB/s, %.2f times the time per byte of the text\n", name, letter, one / letter);
        goal(one / letter <= 2, "at most twice the time per byte");
    }
    std::mt19937_64 random(1);
    std::string word;
    while (word.size() < 1'000'000) word.push_back(static_cast<char>('a' + random() % 26));
    const double letter = rate(model, word, SplitPath::fastest, 1);
    std::printf("1 MB of random letters: %.1f MB/s, %.2f times the time per byte\n", letter, one / letter);
    compare_paths(model, text);
}

void train_bench(const std::filesystem::path& text) {
    const auto corpora = text.string() + ".corpora";
    std::filesystem::remove_all(corpora);
    DataConfig config;
    config.tokenizer = "bpe:32768";
    config.holdout.fraction = 0;
    config.sources.emplace_back().path = text.string();
    Preparation preparation(config, "/", corpora);
    std::mutex mutex;
    double counting = 0;
    const auto begin = Clock::now();
    const auto now = [&] { return std::chrono::duration<double>(Clock::now() - begin).count(); };
    std::atomic<bool> trained = false;
    const auto work = [&] {
        while (!trained) {
            std::optional<nlohmann::json> task;
            {
                const std::lock_guard lock(mutex);
                task = preparation.next_task();
                if (task && task->at("kind") == "train") counting = now();
                if (task && task->at("kind") == "tokenize") trained = true;
            }
            if (trained) return;
            if (!task) {
                std::this_thread::sleep_for(std::chrono::milliseconds(1));
                continue;
            }
            const auto result = run_task(*task);
            const std::lock_guard lock(mutex);
            preparation.complete(task->at("id").get<std::uint64_t>(), result);
        }
    };
    std::jthread second(work);
    work();
    second.join();
    rusage usage{};
    getrusage(RUSAGE_SELF, &usage);
    const double megabytes = static_cast<double>(std::filesystem::file_size(text)) / 1e6;
    const double gigabytes = static_cast<double>(usage.ru_maxrss) / (1 << 20);
    std::printf("train bpe:32768 on %.0f MB: %.1f s, of which counting words %.1f; peak of memory %.2f GiB\n",
                megabytes, now(), counting, gigabytes);
    goal(now() <= 180 * std::max(1.0, megabytes / 1000), "at most 180 s a GB");
    goal(gigabytes <= 4, "at most 4 GiB");
    std::filesystem::remove_all(corpora);
}

}  // namespace
}  // namespace kiban::data

int main(int argc, char** argv) {
    if (argc < 2) {
        std::fprintf(stderr, "usage: tokenizer_bench TEXT [train]\n");
        return 64;
    }
    if (argc > 2) {
        kiban::data::train_bench(argv[1]);
    } else {
        kiban::data::encode_bench(kiban::monitoring::read_text(argv[1]));
    }
    return kiban::data::missed ? 1 : 0;
}
