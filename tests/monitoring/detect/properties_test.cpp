// SPDX-License-Identifier: Apache-2.0
// The detectors' rates of false alarms and delays, by simulation: the table of monitoring/DETECTORS.md.
// As many runs each as the environment says in KIBAN_SIMULATED_RUNS: 20 in the suite, 200 in the soak test, under the
// same bounds.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "monitoring/detect/generalisation.h"
#include "monitoring/detect/level.h"
#include "monitoring/detect/mirage.h"
#include "monitoring/detect/plateau.h"
#include "monitoring/detect/segments.h"
#include "monitoring/detect/spike.h"
#include "tests/monitoring/detect/simulate.h"

namespace kiban::monitoring::detect {
namespace {

std::uint64_t runs() {
    const char* given = std::getenv("KIBAN_SIMULATED_RUNS");
    return given == nullptr ? 20 : std::strtoull(given, nullptr, 10);
}

const std::uint64_t kRuns = runs();
const bool kSoak = kRuns >= 200;
constexpr SpikeRule kLoss = {.series = Series::train_loss, .logarithm = false, .divergence = true};
constexpr SpikeRule kNorm = {.series = Series::grad_norm, .logarithm = true, .divergence = false};

double share(std::uint64_t part) { return static_cast<double>(part) / static_cast<double>(kRuns); }

template <typename... Args>
void report(fmt::format_string<Args...> format, Args&&... args) {
    fmt::print("    {}\n", fmt::format(format, std::forward<Args>(args)...));
}

TEST(SpikeProperties, NormalNoiseIsFlaggedLessThanOnceInAMillion) {
    const std::uint64_t points = kSoak ? 60'000 : 6'000;
    std::uint64_t quiet = 0;
    std::uint64_t flagged = 0;
    for (std::uint64_t run = 0; run < kRuns; ++run) {
        SpikeState state;
        Random random(run);
        for (std::uint64_t i = 0; i < points; ++i) observe(state, kLoss, late_sample(i, 2 + 0.1 * random.normal()));
        quiet += state.flagged == 0 ? 1u : 0u;
        flagged += state.flagged;
    }
    report("{} of {} runs of {} points without a flag, {} flags", quiet, kRuns, points, flagged);
    EXPECT_LE(static_cast<double>(flagged), 1e-6 * static_cast<double>(kRuns * points));
    EXPECT_GE(share(quiet), 0.975);
}

TEST(SpikeProperties, LogNormalNormsAreFlaggedAtMostOnceIn20000) {
    const std::uint64_t points = kSoak ? 20'000 : 2'000;
    std::uint64_t worst = 0;
    std::uint64_t flagged = 0;
    for (std::uint64_t run = 0; run < kRuns; ++run) {
        SpikeState state;
        Random random(1000 + run);
        for (std::uint64_t i = 0; i < points; ++i)
            observe(state, kNorm, late_sample(i, std::exp(0.5 * random.normal())));
        worst = std::max(worst, state.flagged);
        flagged += state.flagged;
    }
    report("at most {} flags in a run of {} points, {} in all {} runs", worst, points, flagged, kRuns);
    EXPECT_LE(worst, 1u);
}

TEST(SpikeProperties, ASpikeInTheShadowOfALargerOneIsFound) {
    std::uint64_t found = 0;
    for (std::uint64_t run = 0; run < kRuns; ++run) {
        SpikeState state;
        Random random(2000 + run);
        std::vector<std::uint64_t> steps;
        for (std::uint64_t i = 0; i < 400; ++i) {
            const double spike = i == 300 ? 3 : i == 350 ? 1u : 0u;  // of a noise of 0.1
            for (const Event& event : observe(state, kLoss, late_sample(i, 2 + spike + 0.1 * random.normal())))
                if (event.kind == EventKind::spike) steps.push_back(event.step);
        }
        found += steps == std::vector<std::uint64_t>{301, 351} ? 1u : 0u;
    }
    report("both found, and nothing else, in {} of {} runs", found, kRuns);
    EXPECT_GE(share(found), 0.99);  // 10 sigma is 6 robust deviations even where noise takes 2 and the MAD a fifth
}

TEST(SpikeProperties, ARunThatDivergesIsToldWithinAHundredStepsAndNoOther) {
    std::uint64_t found = 0;
    std::uint64_t false_alarms = 0;
    for (std::uint64_t run = 0; run < kRuns; ++run) {
        for (const bool diverges : {false, true}) {
            SpikeState state;
            Random random(3000 + run);
            std::uint64_t told = 0;
            for (std::uint64_t i = 1; i <= 2000; ++i) {
                const double climb = diverges && i > 1000 ? 0.1 * static_cast<double>(i - 1000) : 0;
                const double value = 2 + 4 / std::sqrt(static_cast<double>(i)) + climb + 0.1 * random.normal();
                for (const Event& event : observe(state, kLoss, {i, i, value}))
                    if (event.kind == EventKind::divergence && told == 0) told = i;
            }
            found += diverges && told > 1000 && told <= 1100 ? 1u : 0u;
            false_alarms += !diverges && told != 0 ? 1u : 0u;
        }
    }
    report("found in {} of {} runs, false alarms in {}", found, kRuns, false_alarms);
    EXPECT_EQ(found, kRuns);
    EXPECT_EQ(false_alarms, 0u);
}

// Mean number of independent standard normal values, shifted by `shift`, until the upper sum alarms.
double run_length(double bound, double shift, int repeats, std::uint64_t seed) {
    Random random(seed);
    double total = 0;
    for (int repeat = 0; repeat < repeats; ++repeat) {
        Cusum cusum{.bound = bound};
        for (std::uint64_t i = 1;; ++i) {
            if (cusum.add(random.normal() + shift, i) == 1) {
                total += static_cast<double>(i);
                break;
            }
            cusum.down = 0;  // one-sided
        }
    }
    return total / repeats;
}

// Values of an exact Markov chain (research, B2).
TEST(LevelProperties, RunLengthsAreThoseOfTheTable) {
    struct Row {
        double bound, none, one, two, three;
    };
    for (const Row& row : {Row{4, 335, 8.4, 3.3, 2.2}, Row{5, 931, 10.4, 4.0, 2.6}, Row{8, 18'950, 16.4, 6.0, 3.8},
                           Row{10, 140'000, 20.4, 7.3, 4.6}}) {
        if (!kSoak && row.none > 1000) continue;
        const double none = run_length(row.bound, 0, 1500, 41);
        report("h {}: one false alarm in {:.0f} values, table {}", row.bound, none, row.none);
        EXPECT_NEAR(none, row.none, 0.1 * row.none);
        EXPECT_NEAR(run_length(row.bound, 1, 2000, 42), row.one, 0.1 * row.one);
        EXPECT_NEAR(run_length(row.bound, 2, 2000, 43), row.two, 0.1 * row.two);
        EXPECT_NEAR(run_length(row.bound, 3, 2000, 44), row.three, 0.1 * row.three);
    }
}

TEST(LevelProperties, FalseAlarmsAreFewAndJumpsAreFoundWhateverTheCorrelation) {
    for (const double rho : {0.0, 0.5, 0.9}) {
        std::uint64_t alarmed = 0;
        std::uint64_t found = 0;
        std::vector<double> delays;
        for (std::uint64_t run = 0; run < kRuns; ++run) {
            CorrelatedNoise noise(4000 + run, rho);
            LevelState state;
            bool alarm = false;
            for (std::uint64_t i = 0; i < 2800; ++i)
                alarm = observe(state, Series::train_loss, late_sample(i, 2 + 0.1 * noise.next())) || alarm;
            alarmed += alarm ? 1u : 0u;

            CorrelatedNoise again(5000 + run, rho);
            state = LevelState();
            constexpr std::uint64_t kJump = 600;
            for (std::uint64_t i = 0; i < kJump + 100; ++i) {  // six sigma within ten values
                const double ramp = i < kJump ? 0 : std::min(1.0, static_cast<double>(i - kJump + 1) / 10);
                const auto event =
                    observe(state, Series::train_loss, late_sample(i, 2 + 0.1 * (again.next() - 6 * ramp)));
                if (!event || i < kJump || event->kind != EventKind::jump_down) continue;
                ++found;
                delays.push_back(static_cast<double>(i - kJump + 1));
                break;
            }
        }
        report("rho {}: false alarm in {} of {} runs of 2,800 values; jump found in {}, median delay {}", rho, alarmed,
               kRuns, found, median_number(delays));
        EXPECT_LE(share(alarmed), 0.15) << rho;
        EXPECT_GE(share(found), 0.95) << rho;
        EXPECT_LE(median_number(delays), 8) << rho;
    }
}

// A power law that ends at `flat_from` doublings; evaluated 40 times a doubling.
struct PlateauRun {
    double b = 0.3;
    double flat_from = HUGE_VAL;
    double noise = 0.001;

    double loss(double x) const { return 1.5 + 3 * std::exp2(-b * std::min(x, flat_from)); }
    double slope(double x) const { return x < flat_from ? -b * std::log(2.0) * 3 * std::exp2(-b * x) : 0; }
};

// Doublings at which a plateau is entered; infinite: never within 20.
double entered_at(const PlateauRun& run, std::uint64_t seed) {
    PlateauState state;
    Random random(seed);
    for (int i = 0; i < 20 * 40; ++i) {
        const double x = i / 40.0;
        const Sample sample = {static_cast<std::uint64_t>(i) + 1, static_cast<std::uint64_t>(1e6 * std::exp2(x)),
                               run.loss(x) + run.noise * random.normal()};
        const auto event = observe(state, Series::holdout_loss, sample);
        if (event && event->kind == EventKind::plateau_enter) return x;
    }
    return HUGE_VAL;
}

TEST(PlateauProperties, IsNotDeclaredWhileTheCurveFallsTwiceAsFastAsTheBound) {
    std::uint64_t early = 0;
    std::uint64_t entered = 0;
    for (std::uint64_t run = 0; run < kRuns; ++run) {
        const PlateauRun curve{.b = 0.2 + 0.3 * share(run)};
        const double at = entered_at(curve, 6000 + run);
        entered += std::isfinite(at) ? 1u : 0u;
        early += std::isfinite(at) && -curve.slope(at) >= 2 * kPlateauSlope ? 1u : 0u;
    }
    report("early in {} of {} runs; entered in {}, once the slope was small", early, kRuns, entered);
    EXPECT_LE(share(early), 0.05);
    EXPECT_GT(entered, 0u) << "the curves must get flat enough to be tempting";
}

// Twice the noise makes an interval as wide as the bound: the slope is then not known well enough to be told.
TEST(PlateauProperties, IsDeclaredAtMostOneWindowAfterAWindowIsFlat) {
    for (const double noise : {0.001, 0.002}) {
        std::uint64_t in_time = 0;
        for (std::uint64_t run = 0; run < kRuns; ++run) {
            const double at = entered_at({.b = 0.3, .flat_from = 4, .noise = noise}, 7000 + run);
            in_time += at >= 4 && at <= 4 + 0.5 + 0.5 ? 1u : 0u;
        }
        report("noise {}: in time in {} of {} runs", noise, in_time, kRuns);
        EXPECT_GE(share(in_time), noise == 0.001 ? 0.9 : 0);
    }
}

TEST(SegmentProperties, AHundredThousandPointsTakeLessThanASecond) {
    const std::size_t points = kSoak ? 100'000 : 10'000;
    Random random(45);
    std::vector<double> y;
    for (std::size_t i = 0; i < points; ++i) y.push_back(static_cast<double>(i / 500 % 7) + 0.3 * random.normal());
    const std::clock_t begin = std::clock();  // of this process: other work on the machine is not its cost
    const auto found = segment({}, y, SegmentCost::level, penalty_of(y, SegmentCost::level));
    const double seconds = static_cast<double>(std::clock() - begin) / CLOCKS_PER_SEC;
    report("{} points, a change each 500: {:.3f} s, {} segments", points, seconds, found.begins.size());
    EXPECT_LE(seconds, 1);
    EXPECT_NEAR(static_cast<double>(found.begins.size()), static_cast<double>(points / 500), 5);
}

// Losses of a run that memorises by step 150 and generalises at `g` (never: 0), evaluated each 25 steps with noise.
MaybeEvent grokking_in(double g, std::uint64_t seed) {
    GeneralisationState state;
    Random random(seed);
    MaybeEvent told;
    for (std::uint64_t step = 25; step <= 3000; step += 25) {
        const auto s = static_cast<double>(step);
        const double train = 4 * std::exp(-s / 30) + 0.01;
        const double rise = 4 + 4 * (1 - std::exp(-s / 200));
        const double holdout = g > 0 ? 0.02 + rise / (1 + std::exp((s - g) / (0.05 * g))) : rise;
        const double factor = std::exp(0.05 * random.normal());
        const auto event = observe(state, Evaluation{.step = step,
                                                     .tokens = step,
                                                     .train_loss = train * factor,
                                                     .holdout_loss = holdout * std::exp(0.05 * random.normal())});
        if (event) told = event;
    }
    return told;
}

TEST(GeneralisationProperties, DelayIsToldAndItsAbsenceIsNot) {
    std::uint64_t told = 0;
    std::uint64_t false_alarms = 0;
    for (std::uint64_t run = 0; run < kRuns; ++run) {
        const double g = 700 + 1300 * share(run);
        const auto event = grokking_in(g, 8000 + run);
        told += event && std::abs(static_cast<double>(event->since_step) - g) < 0.3 * g ? 1u : 0u;
        false_alarms += grokking_in(0, 9000 + run) || grokking_in(60, 9500 + run) ? 1u : 0u;
    }
    report("told in {} of {} delayed runs; false in {} of {} pairs of never and at once", told, kRuns, false_alarms,
           kRuns);
    EXPECT_EQ(told, kRuns);
    EXPECT_EQ(false_alarms, 0u);
}

// A task of 10 tokens an answer, 200 items: exact match needs all ten.
EventKind verdict_on(bool real_jump, std::uint64_t seed) {
    MirageState state;
    Random random(seed);
    for (std::uint64_t i = 0; i < 60; ++i) {
        const auto x = static_cast<double>(i);
        const double accuracy = real_jump ? (i < 30 ? 0.6 : 0.97) : std::min(0.4 + 0.012 * x, 1.0);
        constexpr std::uint64_t kItems = 200;
        std::uint64_t exact = 0;
        std::uint64_t right = 0;
        for (std::uint64_t item = 0; item < kItems; ++item) {
            std::uint64_t of_item = 0;
            for (int token = 0; token < 10; ++token) of_item += random.uniform() < accuracy ? 1u : 0u;
            exact += of_item == 10 ? 1u : 0u;
            right += of_item;
        }
        const auto event = observe(
            state, {i, i, static_cast<double>(exact) / kItems, kItems, static_cast<double>(right) / (10 * kItems)});
        if (event) return event->kind;
    }
    return EventKind::spike;  // nothing was said
}

TEST(MirageProperties, ThresholdEffectsAndJumpsAreToldApart) {
    std::uint64_t effects = 0;
    std::uint64_t jumps = 0;
    for (std::uint64_t run = 0; run < kRuns; ++run) {
        effects += verdict_on(false, 10'000 + run) == EventKind::threshold_effect ? 1u : 0u;
        jumps += verdict_on(true, 20'000 + run) == EventKind::jump_up ? 1u : 0u;
    }
    report("threshold effects {} of {}, jumps {} of {}", effects, kRuns, jumps, kRuns);
    EXPECT_GE(share(effects), 0.99);
    EXPECT_GE(share(jumps), 0.99);
}

}  // namespace
}  // namespace kiban::monitoring::detect
