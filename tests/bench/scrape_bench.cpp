// SPDX-License-Identifier: Apache-2.0
// How long a scrape of a coordinator takes with 64 workers, over loopback: the goal is at most 5 ms (median).
//
//   scrape_bench [RANKS [SCRAPES]]     default: 64 ranks, 300 scrapes
//
// Every family is there, every axis of communication too, and a step is recorded between scrapes. Prints series, bytes
// and milliseconds; exit code 1 above the goal.
#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <vector>

#include "monitoring/run_metrics.h"
#include "tests/monitoring/http.h"
#include "tests/monitoring/simulated_run.h"

int main(int argc, char** argv) {
    using namespace kiban::monitoring;
    using Clock = std::chrono::steady_clock;
    constexpr double kGoalMs = 5;
    const int ranks = argc > 1 ? std::atoi(argv[1]) : 64;
    const int scrapes = argc > 2 ? std::atoi(argv[2]) : 300;
    RunMetrics metrics(identity());
    every_event(metrics);
    communicate_on_every_axis(metrics);
    for (int rank = 0; rank < ranks; ++rank) {
        metrics.worker_up(rank, true);
        metrics.worker_step(rank, 10);
        metrics.worker_heartbeat_age(rank, 0.5);
        metrics.worker_memory(rank, 1 << 30, 1 << 20);
        metrics.worker_busy(rank, 0.02, false);
        metrics.worker_seconds(rank, {{"starting", 1},
                                      {"preflight", 1},
                                      {"loading", 1},
                                      {"data", 1},
                                      {"forward", 1},
                                      {"backward", 1},
                                      {"reduce", 1},
                                      {"optimizer", 1},
                                      {"evaluate", 1},
                                      {"save", 1},
                                      {"done", 1}});
    }
    const MetricsServer server(metrics, "127.0.0.1:0");
    std::vector<double> milliseconds;
    std::string body;
    for (int i = 0; i < scrapes; ++i) {
        metrics.step(row_of(static_cast<std::uint64_t>(11 + i), 2), 100, false, {{"forward", 0.01}});
        const auto began = Clock::now();
        body = body_of(http_get(server.port(), "/metrics"));
        milliseconds.push_back(std::chrono::duration<double, std::milli>(Clock::now() - began).count());
    }
    std::sort(milliseconds.begin(), milliseconds.end());
    const auto lines = std::count(body.begin(), body.end(), '\n');
    const auto comments = std::count(body.begin(), body.end(), '#');
    const double median = milliseconds[milliseconds.size() / 2];
    fmt::print("{} ranks: {} series, {} bytes; a scrape takes {:.2f} ms (median), {:.2f} ms (90 %)\n", ranks,
               lines - comments, body.size(), median, milliseconds[milliseconds.size() * 9 / 10]);
    return median <= kGoalMs && lines > 200 ? 0 : 1;
}
