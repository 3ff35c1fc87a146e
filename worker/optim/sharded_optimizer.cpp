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

using checkpoint::Box;
using checkpoint::Part;
using checkpoint::TensorId;
using checkpoint::TensorInfo;
using checkpoint::TensorSlice;
using coordinator::Bucket;

constexpr const char* kParam = "param";
constexpr const char* kExpAvg = "exp_avg";
constexpr const char* kExpAvgSq = "exp_avg_sq";
constexpr const char* kGradient = "gradient";  // never stored
constexpr const char* kKinds[] = {kParam, kExpAvg, kExpAvgSq};

TensorInfo info_of(const ParameterEntry& entry, const std::string& kind) {
    return {.id = {entry.spec.name, kind}, .dtype = checkpoint::DType::f32, .shape = entry.spec.shape};
}

// The elements of the part of a tensor that is here, counted from its first, that lie in a range of its bucket.
std::optional<Part> part_inside(const ParameterEntry& entry, const Bucket& bucket, const Part& range) {
    const std::int64_t offset = entry.offset - bucket.offset;
    const std::int64_t begin = std::max(range.begin, offset);
    const std::int64_t end = std::min(range.end, offset + entry.elements());
    if (begin >= end) return std::nullopt;
    return Part{begin - offset, end - offset};
}

// Elements [begin, end) of the part of a tensor that is here, as boxes of the whole tensor.
std::vector<Box> boxes_of(const ParameterEntry& entry, const Part& part) {
    std::vector<Box> boxes = checkpoint::boxes_of_flat_range(entry.box.extent, part.begin, part.end);
    for (Box& box : boxes) {
        for (std::size_t dim = 0; dim < box.offset.size(); ++dim) box.offset[dim] += entry.box.offset[dim];
    }
    return boxes;
}

// A manifest is checked as a whole, so other tensors mean another model, not damage.
void check_tensors(const Parameters& parameters, std::size_t whole, const checkpoint::CheckpointReader& reader) {
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
    const std::size_t expected = whole * std::size(kKinds);
    if (stored.size() != expected) {
        throw ConfigError("checkpoint of step {}: expected {} tensors (parameters and their AdamW state), found {}",
                          reader.step(), expected, stored.size());
    }
}

}  // namespace

ShardedOptimizer::ShardedOptimizer(Parameters& parameters, const coordinator::OptimizerConfig& config, double clip_norm,
                                   int zero_stage, const Mesh& mesh, const WholeModel& whole)
    : parameters_(parameters),
      config_(config),
      clip_norm_(clip_norm),
      mesh_(mesh),
      whole_(whole),
      sharding_(parameters, zero_stage, mesh) {
    std::int64_t state = 0;
    std::int64_t blocks = 0;
    for (const OwnedPiece& piece : sharding_.updated_pieces()) {
        const Bucket& bucket = parameters_.layout().buckets[static_cast<std::size_t>(piece.bucket)];
        state_begin_.push_back(state);
        first_block_.push_back(blocks);
        state += piece.range.size();
        blocks += (bucket.elements + bucket.block - 1) / bucket.block;
    }
    first_block_.push_back(blocks);
    note_runs();
    exp_avg_.resize(static_cast<std::size_t>(state));
    exp_avg_sq_.resize(static_cast<std::size_t>(state));
}

void ShardedOptimizer::note_runs() {
    const auto pieces = sharding_.updated_pieces();
    for (std::size_t number = 0; number < pieces.size(); ++number) {
        const Bucket& bucket = parameters_.layout().buckets[number];
        for (std::size_t i = bucket.first; i <= bucket.last; ++i) {
            const ParameterEntry& entry = parameters_.entries()[i];
            const auto inside = part_inside(entry, bucket, pieces[number].range);
            if (!inside) continue;
            const std::int64_t offset = entry.offset - bucket.offset;
            const Part range{offset + inside->begin, offset + inside->end};
            Run* last = runs_.empty() ? nullptr : &runs_.back();
            if (last != nullptr && last->piece == number && last->decay == entry.spec.decay &&
                last->range.end == range.begin) {
                last->range.end = range.end;
            } else {
                runs_.push_back({number, range, entry.spec.decay});
            }
        }
    }
}

// Of what several workers hold, one counts and stores.
bool ShardedOptimizer::counts(const ParameterEntry& entry) const {
    return !entry.copy && (!entry.partial || mesh_.tensor.rank() == 0);
}

// visit(bucket number, range within the bucket, gradients of the range)
template <typename Visit>
void ShardedOptimizer::for_each_counted(Visit visit) {
    for (const OwnedPiece& piece : sharding_.own_pieces()) {
        const Bucket& bucket = parameters_.layout().buckets[static_cast<std::size_t>(piece.bucket)];
        Part run;
        const auto flush = [&] {
            if (run.size() > 0) visit(piece.bucket, run, piece.gradients + (run.begin - piece.range.begin));
            run = {};
        };
        for (std::size_t i = bucket.first; i <= bucket.last; ++i) {
            const ParameterEntry& entry = parameters_.entries()[i];
            const auto inside = part_inside(entry, bucket, piece.range);
            if (!inside || !counts(entry)) continue;
            const std::int64_t offset = entry.offset - bucket.offset;
            if (run.size() == 0 || run.end != offset + inside->begin) {
                flush();
                run.begin = offset + inside->begin;
            }
            run.end = offset + inside->end;
        }
        flush();
    }
}

double ShardedOptimizer::own_sum_of_squares() {
    double sum = 0;
    for_each_counted(
        [&](int, const Part& range, const float* gradients) { sum += sum_of_squares(gradients, range.size()); });
    return sum;
}

std::vector<double> ShardedOptimizer::block_sums_of_squares() {
    std::vector<double> sums(static_cast<std::size_t>(first_block_.back()));
    for_each_counted([&](int number, const Part& range, const float* gradients) {
        const std::int64_t block = parameters_.layout().buckets[static_cast<std::size_t>(number)].block;
        const std::int64_t first = first_block_[static_cast<std::size_t>(number)];
#pragma omp parallel for schedule(static)
        for (std::int64_t i = range.begin / block; i < (range.end + block - 1) / block; ++i) {
            const Part part{std::max(range.begin, i * block), std::min(range.end, (i + 1) * block)};
            sums[static_cast<std::size_t>(first + i)] +=
                sum_of_squares(gradients + (part.begin - range.begin), part.size());
        }
    });
    return sums;
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
    const auto pieces = sharding_.updated_pieces();
    for (const Run& run : runs_) {
        adamw.weight_decay = run.decay ? config_.weight_decay : 0.0;
        const OwnedPiece& piece = pieces[run.piece];
        const std::int64_t begin = run.range.begin - piece.range.begin;
        const std::int64_t in_state = state_begin_[run.piece] + begin;
        adamw_update(adamw, run.range.size(), piece.gradients + begin, piece.values + begin, exp_avg_.data() + in_state,
                     exp_avg_sq_.data() + in_state);
    }
}

void ShardedOptimizer::reset() {
    std::fill(exp_avg_.begin(), exp_avg_.end(), 0.0F);
    std::fill(exp_avg_sq_.begin(), exp_avg_sq_.end(), 0.0F);
}

std::uint64_t ShardedOptimizer::optimizer_bytes() const {
    return (exp_avg_.size() + exp_avg_sq_.size()) * sizeof(float);
}

float* ShardedOptimizer::state_of(std::vector<float>& state, int bucket, std::int64_t element) {
    const std::int64_t begin = sharding_.stage() == 0 ? 0 : sharding_.own_range(bucket).begin;
    return state.data() + state_begin_[static_cast<std::size_t>(bucket)] + (element - begin);
}

float* ShardedOptimizer::place(const OwnedPiece& piece, const std::string& kind, std::int64_t element) {
    if (kind == kParam) return piece.values + (element - piece.range.begin);
    if (kind == kGradient) return piece.gradients + (element - piece.range.begin);
    return state_of(kind == kExpAvg ? exp_avg_ : exp_avg_sq_, piece.bucket, element);
}

// visit(entry, box of the whole tensor, data) for every box of the own pieces.
template <typename Visit>
void ShardedOptimizer::for_each_part(const std::string& kind, Visit visit) {
    for (const OwnedPiece& piece : sharding_.own_pieces()) {
        const Bucket& bucket = parameters_.layout().buckets[static_cast<std::size_t>(piece.bucket)];
        for (std::size_t i = bucket.first; i <= bucket.last; ++i) {
            const ParameterEntry& entry = parameters_.entries()[i];
            const auto inside = part_inside(entry, bucket, piece.range);
            if (!inside) continue;
            float* data = place(piece, kind, entry.offset - bucket.offset + inside->begin);
            for (const Box& box : boxes_of(entry, *inside)) {
                visit(entry, box, data);
                data += checkpoint::num_elements(box.extent);
            }
        }
    }
}

std::vector<TensorSlice> ShardedOptimizer::slices() {
    std::vector<TensorSlice> all;
    for (const char* kind : kKinds) {
        for_each_part(kind, [&](const ParameterEntry& entry, const Box& box, const float* data) {
            if (counts(entry)) all.push_back({info_of(entry, kind), box, data});
        });
    }
    return all;
}

std::vector<TensorSlice> ShardedOptimizer::reduced_gradients() {
    std::vector<TensorSlice> all;
    for_each_part(kGradient, [&](const ParameterEntry& entry, const Box& box, const float* data) {
        if (counts(entry)) all.push_back({info_of(entry, kParam), box, data});
    });
    return all;
}

std::uint64_t ShardedOptimizer::checkpoint_bytes() const {
    return static_cast<std::uint64_t>(whole_.elements) * std::size(kKinds) * sizeof(float);
}

void ShardedOptimizer::load(const checkpoint::CheckpointReader& reader) {
    check_tensors(parameters_, whole_.tensors, reader);
    for (const char* kind : kKinds) {
        for_each_part(kind, [&](const ParameterEntry& entry, const Box& box, float* data) {
            reader.read({entry.spec.name, kind}, box, data);
        });
    }
    if (sharding_.stage() == 0) load_whole_state(reader);
}

// Stage 0: every worker updates everything, so it needs all of the state.
void ShardedOptimizer::load_whole_state(const checkpoint::CheckpointReader& reader) {
    for (const ParameterEntry& entry : parameters_.entries()) {
        const Bucket& bucket = parameters_.layout().buckets[static_cast<std::size_t>(entry.bucket)];
        const std::int64_t element = entry.offset - bucket.offset;
        reader.read({entry.spec.name, kExpAvg}, entry.box, state_of(exp_avg_, entry.bucket, element));
        reader.read({entry.spec.name, kExpAvgSq}, entry.box, state_of(exp_avg_sq_, entry.bucket, element));
    }
}

std::string ShardedOptimizer::complete_load(const checkpoint::CheckpointReader& reader) {
    sharding_.share_out_values();
    std::map<TensorId, std::uint64_t> fingerprints;
    for (const TensorInfo& tensor : reader.tensors()) fingerprints[tensor.id] = 0;
    for (const TensorSlice& slice : slices()) fingerprints.at(slice.tensor.id) += checkpoint::fingerprint(slice);
    std::vector<std::uint64_t> sums;
    for (const auto& [id, part] : fingerprints) sums.push_back(part);
    mesh_.world.all_reduce_sum(std::span<std::uint64_t>(sums));
    for (std::size_t i = 0; const auto& [id, part] : fingerprints) {
        const std::uint64_t found = sums[i++];
        const std::uint64_t expected = reader.fingerprint_of(id);
        if (found == expected) continue;
        return fmt::format(
            "tensor {} of step {}: expected fingerprint {:016x}, found {:016x} after loading on {} workers",
            to_string(id), reader.step(), expected, found, mesh_.world.size());
    }
    return {};
}

}  // namespace kiban::worker
