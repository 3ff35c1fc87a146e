// SPDX-License-Identifier: Apache-2.0
// What recording a step costs the coordinator: the row in the curve record, metrics, detectors with their metrics and
// status. The goal is 0.1 % of a step.
//
//   recording_bench [STEP_SECONDS [STEPS]]     default: 0.0217, shape A with two workers; 200,000 steps
//
// Prints microseconds of processor time a step and the share of STEP_SECONDS; fails above 0.1 %. Also the time of a
// resume: the detectors' state made anew from all the rows.
#include <fmt/format.h>
#include <unistd.h>

#include <cmath>
#include <cstdlib>
#include <ctime>
#include <random>
#include <vector>

#include "coordinator/run/curve_events.h"

namespace {

using kiban::monitoring::CurveRow;

// A learning curve with noise of its own, of a model that is evaluated each 250 steps.
CurveRow row_of(std::uint64_t step, std::mt19937_64& random) {
    const double noise = static_cast<double>(random() >> 11U) / 9007199254740992.0 - 0.5;
    CurveRow row;
    row.step = step;
    row.tokens = 768 * step;
    row.loss = 1.5 + 4 / std::cbrt(static_cast<double>(step)) + 0.2 * noise;
    row.learning_rate = 1e-3;
    row.grad_norm = 0.5 + 0.2 * noise;
    if (step % 250 == 0) row.eval_loss = row.loss;
    row.step_seconds = 0.02;
    row.wall_time = 1.7e9;
    row.attempt = 1;
    return row;
}

// Processor time of this process, so that other work on the machine is not counted.
double cpu_seconds() { return static_cast<double>(std::clock()) / CLOCKS_PER_SEC; }

}  // namespace

int main(int argc, char** argv) {
    using namespace kiban;
    const double step_seconds = argc > 1 ? std::atof(argv[1]) : 0.0217;
    const std::uint64_t steps = argc > 2 ? std::strtoull(argv[2], nullptr, 10) : 200'000;
    coordinator::RunDirectory directory(std::filesystem::temp_directory_path() /
                                        fmt::format("kiban-recording-{}", ::getpid()));
    directory.open_or_create();
    monitoring::RunIdentity identity;
    identity.run = "bench";
    coordinator::Board board(directory, identity, "");
    monitoring::CurveWriter curve(directory.curve());
    curve.begin_attempt(1, 0);
    coordinator::CurveEvents events(board);
    const std::map<std::string, double> phases = {{"data", 0.001},   {"forward", 0.006},   {"backward", 0.01},
                                                  {"reduce", 0.002}, {"optimizer", 0.001}, {"save", 0}};
    std::mt19937_64 random(1);
    std::vector<CurveRow> made;
    for (std::uint64_t step = 1; step <= steps; ++step) made.push_back(row_of(step, random));
    const auto time_of = [&made](const auto& action) {
        const double begin = cpu_seconds();
        for (const CurveRow& row : made) action(row);
        return cpu_seconds() - begin;
    };
    const double of_record = time_of([&](const CurveRow& row) { curve.append(row); });
    const double of_metrics = time_of([&](const CurveRow& row) { board.metrics().step(row, 768, false, phases); });
    const double of_events = time_of([&](const CurveRow& row) { events.add(row); });
    curve.sync();
    const auto rows = monitoring::read_curve(directory.curve()).rows;
    const double begin = cpu_seconds();
    events.resume(rows, {});
    const double resume = cpu_seconds() - begin;
    std::filesystem::remove_all(directory.root());
    const double micro = 1e6 / static_cast<double>(steps);
    const double share = (of_record + of_metrics + of_events) / static_cast<double>(steps) / step_seconds;
    fmt::print("recording a step: record {:.2f} us, metrics {:.2f} us, detectors {:.2f} us: {:.4f} % of {:.2f} ms\n",
               of_record * micro, of_metrics * micro, of_events * micro, 100 * share, 1000 * step_seconds);
    fmt::print("a resume after {} steps: {:.2f} s for the detectors\n", steps, resume);
    return share <= 0.001 ? 0 : 1;
}
