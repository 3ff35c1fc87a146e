// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/anomaly.h"

#include <algorithm>
#include <cmath>
#include <vector>

namespace kiban::coordinator {
namespace {

// Of a window without noise, in which any change would be infinitely many deviations.
constexpr double kLeastDeviation = 0.02;  // of the median
constexpr double kNormalMad = 1.4826;     // deviations of a normal distribution in a median absolute deviation

double median(std::vector<double> values) {
    const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
    std::nth_element(values.begin(), middle, values.end());
    return *middle;
}

void remember(std::deque<double>& window, double value, std::size_t most) {
    window.push_back(value);
    while (window.size() > most) window.pop_front();
}

struct Usual {
    double median = 0;
    double deviation = 0;
};

Usual usual(const std::deque<double>& window) {
    const double middle = median({window.begin(), window.end()});
    std::vector<double> distances;
    distances.reserve(window.size());
    for (const double value : window) distances.push_back(std::abs(value - middle));
    return {middle, std::max(kNormalMad * median(std::move(distances)), kLeastDeviation * std::abs(middle))};
}

}  // namespace

StepJudgement AnomalyWatch::look(double loss, double gradient_norm) const {
    if (!std::isfinite(loss) || !std::isfinite(gradient_norm)) {
        return {.verdict = StepVerdict::refused,
                .kind = "non_finite",
                .reason = fmt::format("it is not finite: loss {}, gradient norm {}", loss, gradient_norm)};
    }
    if (losses_.size() < config_.window_steps) return {};
    const double largest = *std::ranges::max_element(norms_);
    if (config_.spike_norm_ratio > 0 && gradient_norm > config_.spike_norm_ratio * largest) {
        return {.verdict = StepVerdict::refused,
                .kind = "norm_spike",
                .reason = fmt::format("its gradient norm {:.4g} is more than {} times the largest of the {} healthy "
                                      "steps before, {:.4g}",
                                      gradient_norm, config_.spike_norm_ratio, norms_.size(), largest)};
    }
    if (config_.spike_loss_deviations <= 0) return {};
    const Usual before = usual(losses_);
    if (loss <= before.median + config_.spike_loss_deviations * before.deviation) return {};
    return {
        .verdict = StepVerdict::refused,
        .kind = "loss_spike",
        .reason = fmt::format("its loss {:.4f} is more than {} deviations of {:.4f} above {:.4f}, the median of "
                              "the {} healthy steps before",
                              loss, config_.spike_loss_deviations, before.deviation, before.median, losses_.size())};
}

StepJudgement AnomalyWatch::judge(double loss, double gradient_norm) {
    StepJudgement found = look(loss, gradient_norm);
    ++judged_;
    while (!refused_.empty() && refused_.front() + config_.window_steps <= judged_) refused_.pop_front();
    if (found.verdict == StepVerdict::healthy) {
        consecutive_ = 0;
        remember(losses_, loss, config_.window_steps);
        remember(norms_, gradient_norm, config_.window_steps);
        return found;
    }
    ++consecutive_;
    refused_.push_back(judged_);
    if (consecutive_ >= config_.max_consecutive || refused_.size() >= config_.max_in_window) {
        found.verdict = StepVerdict::roll_back;
        found.reason += fmt::format("; {} steps in a row, {} of the last {} were refused", consecutive_,
                                    refused_.size(), config_.window_steps);
    }
    return found;
}

nlohmann::json AnomalyWatch::to_json() const {
    return {{"losses", losses_},
            {"norms", norms_},
            {"judged", judged_},
            {"refused", refused_},
            {"consecutive", consecutive_}};
}

AnomalyWatch AnomalyWatch::from_json(const nlohmann::json& state, const AnomalyConfig& config) {
    AnomalyWatch watch(config);
    if (state.is_null() || (state.is_object() && state.empty())) return watch;
    try {
        state.at("losses").get_to(watch.losses_);
        state.at("norms").get_to(watch.norms_);
        state.at("judged").get_to(watch.judged_);
        state.at("refused").get_to(watch.refused_);
        state.at("consecutive").get_to(watch.consecutive_);
    } catch (const nlohmann::json::exception& error) {
        throw CheckpointError("run state: 'anomalies' cannot be understood: {}", error.what());
    }
    if (watch.losses_.size() != watch.norms_.size()) {
        throw CheckpointError("run state: 'anomalies' holds {} losses and {} gradient norms, expected as many",
                              watch.losses_.size(), watch.norms_.size());
    }
    while (watch.losses_.size() > config.window_steps) {  // the window was made shorter
        watch.losses_.pop_front();
        watch.norms_.pop_front();
    }
    return watch;
}

}  // namespace kiban::coordinator
