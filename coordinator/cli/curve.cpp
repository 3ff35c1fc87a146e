// SPDX-License-Identifier: Apache-2.0
// kiban curve RUN_DIR: every step of the run's surviving history, once each; or the events and segments found on it.
#include "monitoring/curve.h"

#include <CLI/CLI.hpp>

#include <iostream>
#include <memory>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/named_run.h"
#include "monitoring/curve_axis.h"
#include "monitoring/detect/curve_watch.h"
#include "monitoring/detect/segments.h"
#include "monitoring/error.h"
#include "monitoring/tensorboard.h"

namespace kiban::coordinator {
namespace {

struct CurveOptions {
    std::filesystem::path run_dir;
    bool csv = false;
    bool openmetrics = false;
    std::string axis = "step";
    std::filesystem::path tensorboard;
    bool timing = false;
    bool events = false;
    bool segments = false;
};

void curve(const CurveOptions& options) {
    const RunDirectory directory = named_run(options.run_dir);
    const monitoring::Curve record = monitoring::read_curve(directory.curve());
    if (options.openmetrics) {
        monitoring::write_openmetrics(
            std::cout, record.rows, name_of(directory),
            options.axis == "tokens" ? monitoring::CurveAxis::tokens : monitoring::CurveAxis::step);
    } else if (!options.tensorboard.empty()) {
        std::cout << monitoring::write_tensorboard(options.tensorboard, record.rows).string() << '\n';
    } else if (options.events) {
        monitoring::detect::write_events(std::cout, monitoring::detect::events_of(record.rows));
    } else if (options.segments) {
        monitoring::detect::write_segments(std::cout, monitoring::detect::segments_of(record.rows));
    } else {
        monitoring::write_csv(std::cout, record.rows, options.timing);
    }
    std::cout.flush();
    if (!std::cout) throw IoError("cannot write the curve of '{}' to standard output", directory.root().string());
}

}  // namespace

void add_curve_command(CLI::App& app, int& /*exit_code*/) {
    CLI::App* command = app.add_subcommand("curve", "every step of the run's surviving history, once each");
    auto options = std::make_shared<CurveOptions>();
    command->add_option("RUN_DIR", options->run_dir, "run directory")->required();
    CLI::Option* csv =
        command->add_flag("--csv", options->csv, "comma-separated, equal bits print equal (the default)");
    CLI::Option* openmetrics = command->add_flag(
        "--openmetrics", options->openmetrics, "for promtool tsdb create-blocks-from openmetrics; a step is a second");
    command->add_option("--axis", options->axis, "of --openmetrics: step, or tokens (100 000 are a second)")
        ->check(CLI::IsMember({"step", "tokens"}))
        ->needs(openmetrics);
    CLI::Option* tensorboard = command->add_option("--tensorboard", options->tensorboard,
                                                   "writes an event file into this directory, which TensorBoard opens");
    CLI::Option* timing =
        command->add_flag("--timing", options->timing, "adds step_seconds, wall_time and attempt to the CSV");
    CLI::Option* events = command->add_flag(
        "--events", options->events, "spikes, jumps, plateaus and the like instead of steps (monitoring/DETECTORS.md)");
    CLI::Option* segments = command->add_flag(
        "--segments", options->segments, "stretches on which the training loss falls along one line of log tokens");
    openmetrics->excludes(csv)->excludes(timing);
    tensorboard->excludes(csv)->excludes(timing)->excludes(openmetrics);
    for (CLI::Option* listing : {events, segments})
        listing->excludes(csv)->excludes(timing)->excludes(openmetrics)->excludes(tensorboard);
    events->excludes(segments);
    command->callback([options] { curve(*options); });
}

}  // namespace kiban::coordinator
