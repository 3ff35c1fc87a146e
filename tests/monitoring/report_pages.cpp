// SPDX-License-Identifier: Apache-2.0
// Writes report pages for the browser to look at: report_pages DIRECTORY makes one.html, several.html and empty.html.
#include <fmt/format.h>

#include <cmath>
#include <cstdio>
#include <exception>
#include <filesystem>
#include <limits>
#include <random>

#include "monitoring/report.h"

namespace kiban::monitoring {
namespace {

struct Shape {
    std::uint64_t steps = 0;
    double floor = 2;
    std::uint64_t spike_step = 0;
    std::uint64_t restart_step = 0;
    unsigned seed = 1;
};

// A loss that falls as a power of the step, with noise, a spike of one step, a restart with a pause of an hour.
ReportRun run_of(const std::string& name, const Shape& shape) {
    ReportRun run{.name = name, .curve = {}, .facts = {}};
    std::mt19937 generator(shape.seed);
    std::normal_distribution<double> noise(0, 1);
    double now = 1.7e9;
    for (std::uint64_t step = 1; step <= shape.steps; ++step) {
        const auto at = static_cast<double>(step);
        const double done = at / static_cast<double>(shape.steps);
        CurveRow row;
        row.step = step;
        row.tokens = 4096 * step;
        row.loss = shape.floor + 3.5 * std::pow(at, -0.25) + 0.04 * noise(generator);
        row.grad_norm = 0.4 * std::exp(0.25 * noise(generator)) + 5 * std::exp(-at / 50);
        if (step == shape.spike_step) row.loss = 7.5, row.grad_norm = 40;
        row.learning_rate = 1e-3 * std::min(1.0, 20 * done) * 0.5 * (1 + std::cos(3.14159265 * done));
        row.step_seconds = 0.4 + 0.02 * std::abs(noise(generator));
        if (step % (shape.steps / 20) == 0) row.eval_loss = shape.floor + 0.15 + 3.5 * std::pow(at, -0.25);
        row.attempt = shape.restart_step != 0 && step > shape.restart_step ? 2 : 1;
        now += row.step_seconds + (step == shape.restart_step + 1 ? 600 : 0);
        row.wall_time = now;
        run.curve.rows.push_back(row);
    }
    return run;
}

ReportRun whole_run() {
    ReportRun run = run_of("quickstart", {.steps = 2000, .spike_step = 1234, .restart_step = 700});
    run.curve.superseded_rows = 37;
    run.facts = {{"model", "llama 4x128"},
                 {"parameters", "951 808"},
                 {"last checkpoint", "/a/long/path/of/a/run/directory/runs/quickstart/ckpt/step-000000002000-a000002"}};
    run.cost = {{"worker-hours", "0.54"}, {"price", "1.13 EUR"}, {"operations that training needed", "4.31e+13 FLOP"}};
    for (std::uint64_t step = 200; step <= 2000; step += 200)
        run.saves.push_back({step, 11'500'000, 0.2 + 1e-4 * static_cast<double>(step), step >= 1600});
    for (int rank = 0; rank < 4; ++rank) {
        run.ranks.push_back({rank,
                             "node-" + std::to_string(rank / 2),
                             {{"starting", 9},
                              {"data", 4},
                              {"forward", 210.0 + 25 * (rank == 2)},
                              {"backward", 415},
                              {"reduce", 80.0 - 25 * (rank == 2)},
                              {"optimizer", 60},
                              {"evaluate", 22},
                              {"save", 8}}});
    }
    run.sources = {{"/usr/share/common-licenses/*", 15, 320'000, 300'000, 15'000, {}},
                   {"/usr/share/doc/*/copyright",
                    1200,
                    14'000'000,
                    12'500'000,
                    640'000,
                    {{"redacted email", 5312}, {"dropped duplicate", 87}}}};
    for (int i = 0; i < 12; ++i)
        run.events.push_back(fmt::format("2026-11-26T05:{:02}:00Z checkpoint step={}", i, 200 * i));
    return run;
}

void write_pages(const std::filesystem::path& directory) {
    write_report(directory / "one.html", {whole_run()});
    ReportRun bad = run_of("a run with quite a long name that says which size it has: 12 layers, width 768",
                           {.steps = 1500, .floor = 2.6, .seed = 3});
    bad.curve.rows[900].loss = std::numeric_limits<double>::quiet_NaN();
    ReportRun flat = run_of("flat", {.steps = 4000, .floor = 3, .seed = 4});
    for (CurveRow& row : flat.curve.rows)
        row.loss = std::max(row.loss, 3.45 + 1e-3 * std::sin(static_cast<double>(row.step)));
    write_report(
        directory / "several.html",
        {run_of("long", {.steps = 120'000, .spike_step = 77'777, .restart_step = 40'000, .seed = 2}), bad, flat});
    write_report(directory / "empty.html", {{.name = "new", .curve = {}, .facts = {}}});
}

}  // namespace
}  // namespace kiban::monitoring

int main(int argc, char** argv) {
    try {
        if (argc != 2) return 64;
        kiban::monitoring::write_pages(argv[1]);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s\n", error.what());
        return 70;
    }
    return 0;
}
