// SPDX-License-Identifier: Apache-2.0
// What the detectors say of a learning curve (properties of each: monitoring/DETECTORS.md). Values; any thread.
//
// An event states what was seen, since when and how large; never that a run has converged, nor that it should stop.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <iosfwd>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::monitoring::detect {

enum class EventKind : std::uint64_t {
    spike,
    spike_recovered,
    spike_lingering,
    divergence,
    plateau_enter,
    plateau_exit,
    jump_up,
    jump_down,
    grokking,
    threshold_effect,
};
/// In the order of EventKind; also the values of the metrics' label `kind`.
inline constexpr std::array<std::string_view, 10> kEventKinds = {
    "spike",        "spike_recovered", "spike_lingering", "divergence", "plateau_enter",
    "plateau_exit", "jump_up",         "jump_down",       "grokking",   "threshold_effect"};

enum class Series : std::uint64_t { train_loss, grad_norm, holdout_loss, holdout_accuracy };
inline constexpr std::array<std::string_view, 4> kSeries = {"train_loss", "grad_norm", "holdout_loss",
                                                            "holdout_accuracy"};

/// What the curve as a whole is doing; exactly one at a time.
enum class Phase : std::uint64_t { learning, plateau, memorised, early_sign, diverging };
inline constexpr std::array<std::string_view, 5> kPhases = {"learning", "plateau", "memorised", "early_sign",
                                                            "diverging"};

struct Event {
    EventKind kind = EventKind::spike;
    Series series = Series::train_loss;
    std::uint64_t step = 0;        // at which it was found
    std::uint64_t tokens = 0;      // at that step
    std::uint64_t since_step = 0;  // at which it began, as far as the detector can tell; at most `step`
    double value = 0;              // of the series at `step`
    double size = 0;               // in the unit that `detail` names
    std::string detail;            // one sentence part for a person

    bool operator==(const Event&) const = default;
};

constexpr std::string_view word_of(EventKind kind) { return kEventKinds.at(static_cast<std::size_t>(kind)); }
constexpr std::string_view word_of(Series series) { return kSeries.at(static_cast<std::size_t>(series)); }
constexpr std::string_view word_of(Phase phase) { return kPhases.at(static_cast<std::size_t>(phase)); }

/// "step 1200: jump_down of train_loss (since step 1188): ..."
std::string describe(const Event& event);
/// CSV: step,tokens,kind,series,since_step,value,size,detail; a header line, doubles in the shortest form that reads
/// back to the same bits, detail quoted.
void write_events(std::ostream& out, const std::vector<Event>& events);

/// One value of one series.
struct Sample {
    std::uint64_t step = 0;
    std::uint64_t tokens = 0;  // from 1: the detectors of trends think in log2(tokens)
    double value = 0;          // NaN and infinities are allowed, and are what they are
};

using MaybeEvent = std::optional<Event>;

}  // namespace kiban::monitoring::detect
