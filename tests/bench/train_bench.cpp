// SPDX-License-Identifier: Apache-2.0
// train_bench SHAPE STEPS [PRECISION]: times whole training steps of Kiban's model on random tokens and prints one JSON
// line; see speed.sh.
//
// A step is batch, forward, loss, backward, AdamW on everything and the loss read back, as in pytorch_peer.py. The
// first 3 steps are dropped. evaluate_ms is a forward pass alone, observed_ms one with an observer of the network's
// health, which is the first of an evaluation. PRECISION is fp32 or bf16; kept_mib is the memory that a forward pass
// keeps for its backward pass, peak_mib the largest resident set of the process.
#include <fmt/format.h>
#include <malloc.h>
#include <sys/resource.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdint>
#include <exception>
#include <string>
#include <vector>

#include "coordinator/job/inventory.h"
#include "monitoring/error.h"
#include "tests/bench/shapes.h"
#include "worker/kernels/adamw.h"
#include "worker/kernels/gemm.h"
#include "worker/kernels/gemm_bf16.h"
#include "worker/model/activation_observer.h"
#include "worker/model/initial_values.h"
#include "worker/model/parameters.h"
#include "worker/model/transformer.h"

namespace kiban::worker {
namespace {

using Clock = std::chrono::steady_clock;

double ms_since(Clock::time_point start) {
    return std::chrono::duration<double, std::milli>(Clock::now() - start).count();
}

constexpr double kMiB = 1 << 20;

// What malloc has given out and not got back.
double heap_bytes() {
    const struct mallinfo2 info = ::mallinfo2();
    return static_cast<double>(info.uordblks) + static_cast<double>(info.hblkhd);
}

double peak_resident_mib() {
    struct rusage usage {};
    ::getrusage(RUSAGE_SELF, &usage);
    return static_cast<double>(usage.ru_maxrss) / 1024;
}

double median(std::vector<double> values) {
    std::sort(values.begin(), values.end());
    return values[values.size() / 2];
}

class Bench {
  public:
    Bench(const Shape& shape, coordinator::ModelConfig config, Precision precision)
        : shape_(shape),
          parameters_(coordinator::tensor_inventory(config, shape.vocabulary, shape.tokens), precision),
          model_(config, shape.vocabulary, shape.tokens, parameters_),
          exp_avg_(static_cast<std::size_t>(parameters_.elements()), 0.0F),
          exp_avg_sq_(exp_avg_) {
        parameters_.initialise(1);
    }

    void step(std::uint32_t number) {
        const auto start = Clock::now();
        const std::int64_t count = shape_.rows * shape_.tokens;
        inputs_.resize(static_cast<std::size_t>(count));
        targets_.resize(inputs_.size());
        for (std::size_t i = 0; i < inputs_.size(); ++i) {
            const auto words = philox4x32({static_cast<std::uint32_t>(i), number, 0, 0}, {1, 2});
            inputs_[i] = words[0] % static_cast<std::uint32_t>(shape_.vocabulary);
            targets_[i] = words[1] % static_cast<std::uint32_t>(shape_.vocabulary);
        }
        PassSeconds passes;
        parameters_.zero_gradients();
        loss_ =
            model_.accumulate_gradients({shape_.rows, inputs_, targets_}, 1.0 / static_cast<double>(count), &passes) /
            static_cast<double>(count);
        const auto update_start = Clock::now();
        update(number + 1);
        forward_ms_.push_back(passes.forward * 1e3);
        backward_ms_.push_back(passes.backward * 1e3);
        update_ms_.push_back(ms_since(update_start));
        step_ms_.push_back(ms_since(start));
    }

    /// After a step: its rows again.
    void measure_kept() {
        const double before = heap_bytes();
        const auto pass = model_.forward({shape_.rows, inputs_, targets_}, 1.0);
        kept_ = heap_bytes() - before;
        pass->backward();
    }

    /// After a step, likewise.
    void measure_observer() {
        const Batch batch{shape_.rows, inputs_, targets_};
        for (int repetition = 0; repetition < 5; ++repetition) {
            auto start = Clock::now();
            model_.evaluate(batch);
            evaluate_ms_.push_back(ms_since(start));
            start = Clock::now();
            ActivationObserver observer(shape_.model().layers, model_.width(), true);
            model_.evaluate(batch, {}, &observer);
            observed_ms_.push_back(ms_since(start));
        }
    }

    void print() const {
        const double tokens_per_second =
            static_cast<double>(shape_.rows * shape_.tokens) / median(warm(step_ms_)) * 1e3;
        fmt::print(
            "{{\"program\": \"kiban\", \"shape\": \"{}\", \"precision\": \"{}\", \"tokens_per_second\": {:.1f}, "
            "\"step_ms\": {:.2f}, "
            "\"forward_ms\": {:.2f}, "
            "\"backward_ms\": {:.2f}, \"update_ms\": {:.2f}, \"evaluate_ms\": {:.2f}, \"observed_ms\": {:.2f}, "
            "\"loss\": {:.4f}, \"kept_mib\": {:.1f}, "
            "\"peak_mib\": {:.1f}, \"gemm\": \"{}\"}}\n",
            shape_.name, parameters_.precision() == Precision::bf16 ? "bf16" : "fp32", tokens_per_second,
            median(warm(step_ms_)), median(warm(forward_ms_)), median(warm(backward_ms_)), median(warm(update_ms_)),
            median(evaluate_ms_), median(observed_ms_), loss_, kept_ / kMiB, peak_resident_mib(),
            parameters_.precision() == Precision::bf16 ? bf16_products() : gemm_library());
    }

  private:
    static constexpr std::ptrdiff_t kDropped = 3;

    static std::vector<double> warm(const std::vector<double>& values) {
        return {values.begin() + kDropped, values.end()};
    }

    void update(std::uint32_t completed) {
        AdamWStep step = {.learning_rate = 1e-4, .beta1 = 0.9, .beta2 = 0.95, .epsilon = 1e-8};
        step.bias_correction1 = 1.0 - std::pow(step.beta1, completed);
        step.bias_correction2 = 1.0 - std::pow(step.beta2, completed);
        const float* gradients = parameters_.gradients();
        for (const ParameterEntry& entry : parameters_.entries()) {
            step.weight_decay = entry.spec.decay ? 0.1 : 0.0;
            adamw_update(step, entry.spec.elements(), gradients + entry.offset, parameters_.values() + entry.offset,
                         exp_avg_.data() + entry.offset, exp_avg_sq_.data() + entry.offset);
        }
    }

    Shape shape_;
    Parameters parameters_;
    Transformer model_;
    std::vector<float> exp_avg_, exp_avg_sq_;
    std::vector<std::int64_t> inputs_, targets_;
    std::vector<double> evaluate_ms_, observed_ms_;
    std::vector<double> step_ms_, forward_ms_, backward_ms_, update_ms_;
    double loss_ = 0;
    double kept_ = 0;
};

void run(const Shape& shape, std::uint32_t steps, const std::string& precision) {
    if (precision != "fp32" && precision != "bf16")
        throw UsageError("unknown precision '{}'; known: fp32, bf16", precision);
    Bench bench(shape, shape.model(), precision == "bf16" ? Precision::bf16 : Precision::fp32);
    for (std::uint32_t step = 0; step < steps + 3; ++step) bench.step(step);
    bench.measure_kept();
    bench.measure_observer();
    bench.print();
}

}  // namespace
}  // namespace kiban::worker

int main(int argc, char** argv) {
    try {
        if (argc != 3 && argc != 4) throw kiban::UsageError("usage: train_bench SHAPE STEPS [fp32|bf16]");
        kiban::worker::run(kiban::worker::shape_called(argv[1]), static_cast<std::uint32_t>(std::stoul(argv[2])),
                           argc == 4 ? argv[3] : "fp32");
        return 0;
    } catch (const std::exception& error) {
        fmt::print(stderr, "{}\n", error.what());
        return kiban::exit_code_of(error);
    }
}
