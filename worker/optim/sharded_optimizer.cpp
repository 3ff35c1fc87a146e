// SPDX-License-Identifier: Apache-2.0
#include "worker/optim/sharded_optimizer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "monitoring/error.h"
#include "worker/kernels/adamw.h"

namespace kiban::worker {
namespace {

using checkpoint::Part;
using checkpoint::TensorId;
using checkpoint::TensorInfo;
using checkpoint::TensorSlice;

constexpr const char* kParam = "param";
constexpr const char* kExpAvg = "exp_avg";
constexpr const char* kExpAvgSq = "exp_avg_sq";
constexpr const char* kKinds[] = {kParam, kExpAvg, kExpAvgSq};

TensorInfo info_of(const ParameterEntry& entry, const std::string& kind) {
    return {.id = {entry.spec.name, kind}, .dtype = checkpoint::DType::f32, .shape = entry.spec.shape};
}

// The elements of a tensor, counted from its first, that lie in a range of the flat buffer.
std::optional<Part> part_inside(const ParameterEntry& entry, const Part& range) {
    const std::int64_t begin = std::max(range.begin, entry.offset);
    const std::int64_t end = std::min(range.end, entry.offset + entry.spec.elements());
    if (begin >= end) return std::nullopt;
    return Part{begin - entry.offset, end - entry.offset};
}

// A manifest is checked as a whole, so other tensors mean another model, not damage.
void check_tensors(const Parameters& parameters, const checkpoint::CheckpointReader& reader) {
    std::map<TensorId, const TensorInfo*> stored;
    for (const TensorInfo& tensor : reader.tensors()) stored[tensor.id] = &tensor;
    for (const ParameterEntry& entry : parameters.entries()) {
        for (const char* kind : kKinds) {
            const TensorInfo wanted = info_of(entry, kind);
            const auto place = stored.find(wanted.id);
            if (place == stored.end()) {
                throw ConfigError(
                    "checkpoint of step {}: the model needs tensor {}, which is not there: it is another model's",
                    reader.step(), to_string(wanted.id));
            }
            if (const TensorInfo& found = *place->second; found != wanted) {
                throw ConfigError("checkpoint of step {}, tensor {}: expected {} {}, found {} {}", reader.step(),
                                  to_string(wanted.id), name_of(wanted.dtype), checkpoint::to_string(wanted.shape),
                                  name_of(found.dtype), checkpoint::to_string(found.shape));
            }
        }
    }
    const std::size_t expected = parameters.entries().size() * std::size(kKinds);
    if (stored.size() != expected) {
        throw ConfigError("checkpoint of step {}: expected {} tensors (parameters and their AdamW state), found {}",
                          reader.step(), expected, stored.size());
    }
}

}  // namespace

ShardedOptimizer::ShardedOptimizer(Parameters& parameters, const coordinator::OptimizerConfig& config, double clip_norm,
                                   int zero_stage, Group data_group)
    : parameters_(parameters),
      config_(config),
      clip_norm_(clip_norm),
      group_(std::move(data_group)),
      sharded_(zero_stage == 1),
      own_(checkpoint::part_of(parameters.elements(), group_.rank(), group_.size())),
      state_(!sharded_ ? Part{0, parameters.elements()} : own_) {
    if (zero_stage != 0 && zero_stage != 1) throw ConfigError("parallel.zero: expected 0 or 1, found {}", zero_stage);
    for (const ParameterEntry& entry : parameters_.entries()) {
        const auto inside = part_inside(entry, state_);
        if (!inside) continue;
        const Part range{entry.offset + inside->begin, entry.offset + inside->end};
        if (!runs_.empty() && runs_.back().decay == entry.spec.decay && runs_.back().range.end == range.begin) {
            runs_.back().range.end = range.end;
        } else {
            runs_.push_back({range, entry.spec.decay});
        }
    }
    exp_avg_.resize(static_cast<std::size_t>(state_.size()));
    exp_avg_sq_.resize(static_cast<std::size_t>(state_.size()));
}

void ShardedOptimizer::reduce_scatter_gradients() {
    const std::span<float> gradients(parameters_.gradients(), static_cast<std::size_t>(parameters_.elements()));
    group_.reduce_scatter_sum(gradients);
    if (!sharded_) group_.all_gather(gradients);
}

double ShardedOptimizer::own_sum_of_squares() const {
    return sum_of_squares(parameters_.gradients() + own_.begin, own_.size());
}

double ShardedOptimizer::clipping_factor(double gradient_norm) const {
    return clip_norm_ > 0 && gradient_norm > clip_norm_ ? clip_norm_ / (gradient_norm + 1e-6) : 1.0;
}

void ShardedOptimizer::update_own_part(std::uint64_t step, double learning_rate, double gradient_norm) {
    AdamWStep adamw;
    adamw.learning_rate = learning_rate;
    adamw.beta1 = config_.betas[0];
    adamw.beta2 = config_.betas[1];
    adamw.epsilon = config_.epsilon;
    adamw.gradient_scale = clipping_factor(gradient_norm);
    adamw.bias_correction1 = 1.0 - std::pow(config_.betas[0], static_cast<double>(step));
    adamw.bias_correction2 = 1.0 - std::pow(config_.betas[1], static_cast<double>(step));
    for (const Run& run : runs_) {
        adamw.weight_decay = run.decay ? config_.weight_decay : 0.0;
        const std::int64_t in_state = run.range.begin - state_.begin;
        adamw_update(adamw, run.range.size(), parameters_.gradients() + run.range.begin,
                     parameters_.values() + run.range.begin, exp_avg_.data() + in_state, exp_avg_sq_.data() + in_state);
    }
}

void ShardedOptimizer::all_gather_parameters() {
    if (sharded_)
        group_.all_gather(std::span<float>(parameters_.values(), static_cast<std::size_t>(parameters_.elements())));
}

void ShardedOptimizer::reset() {
    std::fill(exp_avg_.begin(), exp_avg_.end(), 0.0F);
    std::fill(exp_avg_sq_.begin(), exp_avg_sq_.end(), 0.0F);
}

std::uint64_t ShardedOptimizer::optimizer_bytes() const {
    return (exp_avg_.size() + exp_avg_sq_.size()) * sizeof(float);
}

std::vector<TensorSlice> ShardedOptimizer::slices_of(const Part& range, const std::string& kind, const float* buffer,
                                                     std::int64_t buffer_begin) const {
    std::vector<TensorSlice> slices;
    for (const ParameterEntry& entry : parameters_.entries()) {
        const auto inside = part_inside(entry, range);
        if (!inside) continue;
        const float* data = buffer + (entry.offset + inside->begin - buffer_begin);
        for (const checkpoint::Box& box :
             checkpoint::boxes_of_flat_range(entry.spec.shape, inside->begin, inside->end)) {
            slices.push_back({info_of(entry, kind), box, data});
            data += checkpoint::num_elements(box.extent);
        }
    }
    return slices;
}

std::vector<TensorSlice> ShardedOptimizer::slices() const {
    std::vector<TensorSlice> all = slices_of(own_, kParam, parameters_.values(), 0);
    for (const auto& [kind, buffer] : {std::pair{kExpAvg, &exp_avg_}, std::pair{kExpAvgSq, &exp_avg_sq_}}) {
        const std::vector<TensorSlice> state = slices_of(own_, kind, buffer->data(), state_.begin);
        all.insert(all.end(), state.begin(), state.end());
    }
    return all;
}

std::uint64_t ShardedOptimizer::checkpoint_bytes() const {
    return static_cast<std::uint64_t>(parameters_.elements()) * std::size(kKinds) * sizeof(float);
}

void ShardedOptimizer::read_range(const checkpoint::CheckpointReader& reader, const Part& range,
                                  const std::string& kind, float* buffer, std::int64_t buffer_begin) const {
    for (const ParameterEntry& entry : parameters_.entries()) {
        const auto inside = part_inside(entry, range);
        if (!inside) continue;
        float* data = buffer + (entry.offset + inside->begin - buffer_begin);
        for (const checkpoint::Box& box :
             checkpoint::boxes_of_flat_range(entry.spec.shape, inside->begin, inside->end)) {
            reader.read({entry.spec.name, kind}, box, data);
            data += checkpoint::num_elements(box.extent);
        }
    }
}

void ShardedOptimizer::load(const checkpoint::CheckpointReader& reader) {
    check_tensors(parameters_, reader);
    read_range(reader, own_, kParam, parameters_.values(), 0);
    read_range(reader, state_, kExpAvg, exp_avg_.data(), state_.begin);
    read_range(reader, state_, kExpAvgSq, exp_avg_sq_.data(), state_.begin);
}

std::string ShardedOptimizer::complete_load(const checkpoint::CheckpointReader& reader) {
    group_.all_gather(std::span<float>(parameters_.values(), static_cast<std::size_t>(parameters_.elements())));
    std::map<TensorId, std::uint64_t> fingerprints;
    for (const char* kind : kKinds) {
        for (const ParameterEntry& entry : parameters_.entries()) fingerprints[{entry.spec.name, kind}] = 0;
    }
    for (const TensorSlice& slice : slices()) fingerprints[slice.tensor.id] += checkpoint::fingerprint(slice);
    std::vector<std::uint64_t> sums;
    for (const auto& [id, part] : fingerprints) sums.push_back(part);
    group_.all_reduce_sum(std::span<std::uint64_t>(sums));
    for (std::size_t i = 0; const auto& [id, part] : fingerprints) {
        const std::uint64_t found = sums[i++];
        const std::uint64_t expected = reader.fingerprint_of(id);
        if (found == expected) continue;
        return fmt::format(
            "tensor {} of step {}: expected fingerprint {:016x}, found {:016x} after loading on {} workers",
            to_string(id), reader.step(), expected, found, group_.size());
    }
    return {};
}

}  // namespace kiban::worker
