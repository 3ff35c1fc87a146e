// SPDX-License-Identifier: Apache-2.0
// parallel_bench SHAPE STEPS [key=value ...]: times whole training steps of a model cut over the ranks of mpirun, on
// random tokens, and prints one JSON line: tokens/s of the whole batch, the largest proportional set size of a rank at
// its peak, and what rank 0 exchanged in a step. Keys: zero replicate tensor pipeline micro_rows rows fixed
// checkpointing.
//
// A step is as in the trainer: forward and backward of each micro-batch, reduction, the norm, AdamW, publication. The
// first 2 steps are dropped. See scaling.sh and memory.sh.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <map>
#include <thread>

#include "monitoring/error.h"
#include "tests/bench/shapes.h"
#include "worker/comm/comm_thread.h"
#include "worker/comm/mpi_environment.h"
#include "worker/comm/traffic.h"
#include "worker/kernels/reduce.h"
#include "worker/model/initial_values.h"
#include "worker/train/passes.h"
#include "worker/train/rows.h"

namespace kiban::worker {
namespace {

using Clock = std::chrono::steady_clock;

struct Options {
    std::map<std::string, int> values = {{"zero", 1},     {"replicate", 1},     {"tensor", 1},
                                         {"pipeline", 1}, {"micro_rows", 0},    {"rows", 0},
                                         {"fixed", 0},    {"checkpointing", 0}, {"muon", 0}};

    int operator[](const std::string& key) const { return values.at(key); }
    void set(const std::string& word) {
        const auto equals = word.find('=');
        const auto found = values.find(word.substr(0, equals));
        if (equals == std::string::npos || found == values.end())
            throw UsageError("parallel_bench: expected key=value, found '{}'", word);
        found->second = std::stoi(word.substr(equals + 1));
    }
};

// Kilobytes of this process, with pages that n processes share counted as 1/n each.
std::uint64_t proportional_set_kb() {
    std::ifstream rollup("/proc/self/smaps_rollup");
    std::string word;
    while (rollup >> word) {
        std::uint64_t kb = 0;
        if (word == "Pss:" && rollup >> kb) return kb;
    }
    return 0;
}

// Looks at the memory while training goes on.
class PeakWatch {
  public:
    PeakWatch()
        : thread_([this] {
              while (!stop_) {
                  peak_ = std::max(peak_.load(), proportional_set_kb());
                  std::this_thread::sleep_for(std::chrono::milliseconds(20));
              }
          }) {}
    std::uint64_t stop() {
        stop_ = true;
        thread_.join();
        return peak_;
    }

  private:
    std::atomic<bool> stop_{false};
    std::atomic<std::uint64_t> peak_{0};
    std::thread thread_;
};

class Bench {
  public:
    Bench(const Shape& shape, const Options& options, const Group& world)
        : shape_(shape),
          options_(options),
          rows_(options["rows"] != 0 ? options["rows"] : shape.rows),
          model_(setup(), world),
          mine_(micro_batches_of(static_cast<std::uint64_t>(rows_), micro_rows(), model_.mesh().data.rank(),
                                 model_.mesh().data.size())),
          passes_(model_, static_cast<int>(mine_.count), options["fixed"] != 0) {
        model_.sharding().initialise(1);
    }

    double step(std::uint32_t number) {
        const auto start = Clock::now();
        const auto tokens = static_cast<double>(rows_ * shape_.tokens);
        model_.sharding().begin_step();
        make_tokens(number);
        const std::vector<double> losses =
            passes_.accumulate_gradients([this](std::uint64_t i) { return batch(i); }, 1.0 / tokens);
        model_.sharding().reduce_gradients();
        std::array<double, 2> sums = {tree_sum(losses), squares()};
        model_.mesh().world.all_reduce_sum(std::span<double>(sums));
        model_.optimizer().update(number + 1, 1e-4, std::sqrt(sums[1]));
        model_.sharding().publish_values();
        loss_ = sums[0] / tokens;
        return std::chrono::duration<double>(Clock::now() - start).count();
    }

    double loss() const { return loss_; }
    double tokens_per_step() const { return static_cast<double>(rows_ * shape_.tokens); }

  private:
    std::uint64_t micro_rows() const {
        if (options_["micro_rows"] != 0) return static_cast<std::uint64_t>(options_["micro_rows"]);
        return static_cast<std::uint64_t>(rows_ / model_.mesh().data.size());
    }

    ModelSetup setup() const {
        ModelSetup setup;
        setup.model = shape_.model();
        setup.vocabulary = shape_.vocabulary;
        setup.sequence_length = shape_.tokens;
        setup.train.optimizer.name = options_["muon"] != 0 ? "muon" : "adamw";
        setup.parallel = {.zero = options_["zero"],
                          .tensor = options_["tensor"],
                          .pipeline = options_["pipeline"],
                          .replicate = options_["replicate"]};
        setup.train.activation_checkpointing =
            static_cast<coordinator::ActivationCheckpointing>(options_["checkpointing"]);
        return setup;
    }

    void make_tokens(std::uint32_t number) {
        const std::size_t count =
            static_cast<std::size_t>(mine_.count * mine_.rows) * static_cast<std::size_t>(shape_.tokens);
        inputs_.resize(count);
        targets_.resize(count);
        const std::uint64_t first = mine_.first * mine_.rows * static_cast<std::uint64_t>(shape_.tokens);
        for (std::size_t i = 0; i < count; ++i) {
            const auto words = philox4x32({static_cast<std::uint32_t>(first + i), number, 0, 0}, {1, 2});
            inputs_[i] = words[0] % static_cast<std::uint32_t>(shape_.vocabulary);
            targets_[i] = words[1] % static_cast<std::uint32_t>(shape_.vocabulary);
        }
    }

    Batch batch(std::uint64_t i) const {
        const std::size_t count = static_cast<std::size_t>(mine_.rows) * static_cast<std::size_t>(shape_.tokens);
        return {static_cast<std::int64_t>(mine_.rows), std::span(inputs_).subspan(i * count, count),
                std::span(targets_).subspan(i * count, count)};
    }

    double squares() {
        if (options_["fixed"] == 0) return model_.optimizer().own_sum_of_squares();
        std::vector<double> blocks = model_.optimizer().block_sums_of_squares();
        model_.mesh().data.all_reduce_sum(std::span<double>(blocks));
        return model_.mesh().data.rank() == 0 ? tree_sum(blocks) : 0.0;
    }

    Shape shape_;
    Options options_;
    std::int64_t rows_;
    ParallelModel model_;
    MicroBatches mine_;
    Passes passes_;
    std::vector<std::int64_t> inputs_, targets_;
    double loss_ = 0;
};

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

std::string traffic_json(std::uint32_t steps) {
    std::string text;
    for (const TrafficRow& row : traffic()) {
        text += fmt::format("{}\"{} {}\": [{}, {}, {:.4f}]", text.empty() ? "" : ", ", row.group, row.operation,
                            row.calls / steps, row.bytes / steps, row.seconds / steps);
    }
    return text;
}

void run(const Shape& shape, std::uint32_t steps, const Options& options, const Group& world) {
    constexpr std::uint32_t kDropped = 2;
    const std::uint64_t without_model_kb = proportional_set_kb();
    PeakWatch watch;
    Bench bench(shape, options, world);
    std::vector<double> seconds;
    for (std::uint32_t step = 0; step < steps + kDropped; ++step) {
        if (step == kDropped) reset_traffic();
        const double taken = bench.step(step);
        if (step >= kDropped) seconds.push_back(taken);
    }
    const std::string exchanged = traffic_json(steps);
    std::vector<std::int64_t> peak = {static_cast<std::int64_t>(watch.stop())};
    world.all_reduce_max(std::span<std::int64_t>(peak));
    if (world.rank() != 0) return;
    std::string cut;
    for (const auto& [key, value] : options.values) cut += fmt::format("\"{}\": {}, ", key, value);
    fmt::print(
        "{{\"shape\": \"{}\", \"workers\": {}, {}\"tokens_per_second\": {:.1f}, \"step_ms\": {:.2f}, \"peak_mib\": "
        "{:.1f}, \"start_mib\": {:.1f}, \"loss\": {:.6f}, \"per_step\": {{{}}}}}\n",
        shape.name, world.size(), cut, bench.tokens_per_step() / median(seconds), median(seconds) * 1e3,
        static_cast<double>(peak[0]) / 1024, static_cast<double>(without_model_kb) / 1024, bench.loss(), exchanged);
}

}  // namespace
}  // namespace kiban::worker

int main(int argc, char** argv) {
    using namespace kiban;
    try {
        if (argc < 3) throw UsageError("usage: parallel_bench SHAPE STEPS [key=value ...]");
        const worker::Shape shape = worker::shape_called(argv[1]);
        worker::Options options;
        for (int i = 3; i < argc; ++i) options.set(argv[i]);
        const char* ranks = std::getenv("KIBAN_EXPECTED_RANKS");
        const worker::MpiEnvironment mpi;
        const worker::CommThread communication;
        try {
            worker::run(shape, static_cast<std::uint32_t>(std::stoul(argv[2])), options,
                        mpi.world(ranks != nullptr ? std::stoi(ranks) : 1));
            return 0;
        } catch (const std::exception& error) {
            fmt::print(stderr, "{}\n", error.what());
            mpi.abort(exit_code_of(error));
        }
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return exit_code_of(error);
    }
}
