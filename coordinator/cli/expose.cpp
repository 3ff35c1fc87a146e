// SPDX-License-Identifier: Apache-2.0
// kiban expose DIR...: the metrics of all runs under the directories, from a service host.
#include "monitoring/expose.h"

#include <CLI/CLI.hpp>

#include <cstdio>
#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/run/stop_signals.h"
#include "monitoring/log.h"
#include "monitoring/run_metrics.h"

namespace kiban::coordinator {
namespace {

struct ExposeOptions {
    std::vector<std::filesystem::path> roots;
    std::string listen = "127.0.0.1:9465";
    bool once = false;
};

void expose(const ExposeOptions& options) {
    monitoring::start_log({.who = "expose", .file = {}});  // standard output is for the metrics
    const monitoring::ExposedRuns runs(options.roots);
    if (options.once) {
        std::fputs(runs.text().c_str(), stdout);
        return;
    }
    const StopSignals signals;  // before the server's threads
    const monitoring::MetricsServer server({runs.collectable()}, options.listen, "--listen");
    std::printf("http://%s:%d/metrics\n", options.listen.substr(0, options.listen.rfind(':')).c_str(), server.port());
    std::fflush(stdout);
    constexpr double kLongSeconds = 3600;
    while (!signals.wait(kLongSeconds)) {
    }
}

}  // namespace

void add_expose_command(CLI::App& app, int& /*exit_code*/) {
    CLI::App* command = app.add_subcommand("expose", "metrics of all runs under a directory, from a service host");
    auto options = std::make_shared<ExposeOptions>();
    command->add_option("DIR", options->roots, "run directories, or directories of them")->required();
    command->add_option("--listen", options->listen, "address of /metrics (127.0.0.1:9465); port 0 picks a free one");
    command->add_flag("--once", options->once, "print them and end");
    command->callback([options] { expose(*options); });
}

}  // namespace kiban::coordinator
