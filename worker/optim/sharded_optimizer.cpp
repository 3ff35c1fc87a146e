// SPDX-License-Identifier: Apache-2.0
#include "worker/optim/sharded_optimizer.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <optional>
#include <utility>

#include "coordinator/job/ownership.h"
#include "monitoring/error.h"
#include "worker/kernels/adamw.h"
#include "worker/kernels/reduce.h"

namespace kiban::worker {
namespace {

using checkpoint::Box;
using checkpoint::Part;
using checkpoint::TensorId;
using checkpoint::TensorInfo;
using checkpoint::TensorSlice;
using coordinator::Bucket;

constexpr std::string_view kParam = "param";
constexpr std::string_view kGradient = "gradient";  // never stored

TensorInfo info_of(const ParameterEntry& entry, std::string_view kind) {
    return {.id = {entry.spec.name, std::string(kind)}, .dtype = checkpoint::DType::f32, .shape = entry.spec.shape};
}

// Parameters first, then every kind of state that some model's optimizer has.
std::vector<std::string_view> stored_kinds() {
    std::vector<std::string_view> kinds = {kParam};
    const auto of_state = OptimizerState::all_kinds();
    kinds.insert(kinds.end(), of_state.begin(), of_state.end());
    return kinds;
}

void read_box(const checkpoint::CheckpointReader& reader, const TensorId& id, const Box& box, float* to) {
    fill_through_host(checkpoint::num_elements(box.extent), to, [&](float* host) { reader.read(id, box, host); });
}

using StoredTensors = std::map<TensorId, const TensorInfo*>;

void check_tensor(const TensorInfo& wanted, const StoredTensors& stored, std::uint64_t step) {
    const auto place = stored.find(wanted.id);
    if (place == stored.end()) {
        throw ConfigError("checkpoint of step {}: the model needs tensor {}, which is not there: it is another {}",
                          step, to_string(wanted.id), wanted.id.kind == kParam ? "model's" : "optimizer's");
    }
    if (const TensorInfo& found = *place->second; found != wanted) {
        throw ConfigError("checkpoint of step {}, tensor {}: expected {} {}, found {} {}", step, to_string(wanted.id),
                          name_of(wanted.dtype), checkpoint::to_string(wanted.shape), name_of(found.dtype),
                          checkpoint::to_string(found.shape));
    }
}

// A manifest is checked as a whole, so other tensors mean another model, not damage.
void check_tensors(const Parameters& parameters, const OptimizerState& state, std::size_t expected,
                   const checkpoint::CheckpointReader& reader) {
    StoredTensors stored;
    for (const TensorInfo& tensor : reader.tensors()) stored[tensor.id] = &tensor;
    for (const ParameterEntry& entry : parameters.entries()) {
        check_tensor(info_of(entry, kParam), stored, reader.step());
        for (const std::string_view kind : state.kinds_of(entry)) {
            check_tensor(info_of(entry, kind), stored, reader.step());
        }
    }
    if (stored.size() != expected) {
        throw ConfigError("checkpoint of step {}: expected {} tensors (parameters and their optimizer state), found {}",
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
      sharding_(parameters, zero_stage, mesh),
      state_(parameters, sharding_.updated_pieces(), config.name == "muon"),
      muon_(parameters, mesh, state_) {
    std::int64_t blocks = 0;
    for (const OwnedPiece& piece : sharding_.updated_pieces()) {
        const Bucket& bucket = parameters_.layout().buckets[static_cast<std::size_t>(piece.bucket)];
        first_block_.push_back(blocks);
        blocks += (bucket.elements + bucket.block - 1) / bucket.block;
    }
    first_block_.push_back(blocks);
    note_runs();
}

void ShardedOptimizer::note_runs() {
    const auto pieces = sharding_.updated_pieces();
    for (std::size_t number = 0; number < pieces.size(); ++number) {
        const Bucket& bucket = parameters_.layout().buckets[number];
        for (std::size_t i = bucket.first; i <= bucket.last; ++i) {
            const ParameterEntry& entry = parameters_.entries()[i];
            const auto inside = part_inside(entry, bucket, pieces[number].range);
            if (!inside || state_.is_muons(entry)) continue;
            const std::int64_t offset = entry.offset - bucket.offset;
            const Part range{offset + inside->begin, offset + inside->end};
            Run* last = runs_.empty() ? nullptr : &runs_.back();
            if (last != nullptr && last->piece == number && last->decay == entry.spec.decay &&
                last->range.end == range.begin) {
                last->range.end = range.end;
            } else {
                runs_.push_back({number, i, range, entry.spec.decay});
            }
        }
    }
}

// Of what several workers hold, one counts and stores.
bool ShardedOptimizer::counts(const ParameterEntry& entry) const {
    return coordinator::stores(entry, mesh_.tensor.rank());
}

// visit(bucket number, range within the bucket, gradients of the range)
template <typename Visit>
void ShardedOptimizer::for_each_counted(Visit visit) {
    for (const OwnedPiece& piece : sharding_.stored_pieces()) {
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
        // What lies before the first edge of a block is the end of one that another run has begun.
        const std::int64_t edge = std::min(range.end, (range.begin + block - 1) / block * block);
        for (const Part& part : {Part{range.begin, edge}, Part{edge, range.end}}) {
            std::vector<double> here(static_cast<std::size_t>((part.size() + block - 1) / block));
            worker::block_sums_of_squares(gradients + (part.begin - range.begin), part.size(), block, here.data());
            for (std::size_t i = 0; i < here.size(); ++i)
                sums[static_cast<std::size_t>(first + part.begin / block) + i] += here[i];
        }
    });
    return sums;
}

double ShardedOptimizer::clipping_factor(double gradient_norm) const {
    return clip_norm_ > 0 && gradient_norm > clip_norm_ ? clip_norm_ / (gradient_norm + 1e-6) : 1.0;
}

void ShardedOptimizer::update(std::uint64_t step, double learning_rate, double gradient_norm, UpdateNorms* norms) {
    const double gradient_scale = clipping_factor(gradient_norm);
    std::optional<UpdateWatch> watch;
    if (norms != nullptr) watch.emplace(parameters_, sharding_.stored_pieces(), mesh_.tensor.rank(), *norms);
    update_adamws(step, learning_rate, gradient_scale, watch ? &*watch : nullptr);
    muon_.update({.learning_rate = learning_rate,
                  .momentum = config_.muon_momentum,
                  .weight_decay = config_.weight_decay,
                  .gradient_scale = gradient_scale},
                 sharding_.updated_pieces(), watch ? &*watch : nullptr);
}

void ShardedOptimizer::update_adamws(std::uint64_t step, double learning_rate, double gradient_scale,
                                     UpdateWatch* watch) {
    AdamWStep adamw;
    adamw.learning_rate = learning_rate;
    adamw.beta1 = config_.betas[0];
    adamw.beta2 = config_.betas[1];
    adamw.epsilon = config_.epsilon;
    adamw.gradient_scale = gradient_scale;
    adamw.bias_correction1 = 1.0 - std::pow(config_.betas[0], static_cast<double>(step));
    adamw.bias_correction2 = 1.0 - std::pow(config_.betas[1], static_cast<double>(step));
    const auto pieces = sharding_.updated_pieces();
    for (const Run& run : runs_) {
        adamw.weight_decay = run.decay ? config_.weight_decay : 0.0;
        const OwnedPiece& piece = pieces[run.piece];
        const auto apply = [&](const Part& range) {
            const std::int64_t begin = range.begin - piece.range.begin;
            adamw_update(adamw, range.size(), piece.gradients + begin, piece.values + begin,
                         state_.at(0, run.first, range.begin), state_.at(1, run.first, range.begin));
        };
        if (watch == nullptr)
            apply(run.range);
        else
            watch_run(run, piece, *watch, apply);
    }
}

// One entry after another.
void ShardedOptimizer::watch_run(const Run& run, const OwnedPiece& piece, UpdateWatch& watch,
                                 const UpdateWatch::Apply& apply) {
    const Bucket& bucket = parameters_.layout().buckets[static_cast<std::size_t>(piece.bucket)];
    for (std::size_t i = run.first; i <= bucket.last; ++i) {
        const ParameterEntry& entry = parameters_.entries()[i];
        const auto inside = part_inside(entry, bucket, run.range);
        if (!inside) continue;
        const std::int64_t offset = entry.offset - bucket.offset;
        watch.run(piece, i, {offset + inside->begin, offset + inside->end}, apply,
                  [&](std::int64_t element) { return state_.at(1, run.first, element); });
    }
}

// Null where the entry has nothing of this kind.
float* ShardedOptimizer::place(const OwnedPiece& piece, std::string_view kind, std::size_t index,
                               std::int64_t element) {
    if (kind == kParam) return piece.values + (element - piece.range.begin);
    if (kind == kGradient) return piece.gradients + (element - piece.range.begin);
    return state_.find(kind, index, element);
}

// visit(entry, box of the whole tensor, data) for every box of the pieces.
template <typename Visit>
void ShardedOptimizer::for_each_part(const std::vector<OwnedPiece>& pieces, std::string_view kind, Visit visit) {
    for (const OwnedPiece& piece : pieces) {
        for (const auto& owned : coordinator::owned_boxes(parameters_.layout(), piece.bucket, piece.range)) {
            float* data = place(piece, kind, owned.tensor, owned.element);
            if (data != nullptr) visit(parameters_.entries()[owned.tensor], owned.box, data);
        }
    }
}

const float* ShardedOptimizer::on_host(const Box& box, const float* data) {
    return copies_.of(data, checkpoint::num_elements(box.extent));
}

std::vector<TensorSlice> ShardedOptimizer::slices() { return slices_of(sharding_.stored_pieces()); }

std::vector<TensorSlice> ShardedOptimizer::slices_of(const std::vector<OwnedPiece>& pieces) {
    std::vector<TensorSlice> all;
    copies_.clear();
    for (const std::string_view kind : stored_kinds()) {
        for_each_part(pieces, kind, [&](const ParameterEntry& entry, const Box& box, const float* data) {
            if (counts(entry)) all.push_back({info_of(entry, kind), box, on_host(box, data)});
        });
    }
    return all;
}

std::vector<TensorSlice> ShardedOptimizer::reduced_gradients() {
    std::vector<TensorSlice> all;
    copies_.clear();
    for_each_part(sharding_.stored_pieces(), kGradient,
                  [&](const ParameterEntry& entry, const Box& box, const float* data) {
                      if (counts(entry)) all.push_back({info_of(entry, kParam), box, on_host(box, data)});
                  });
    return all;
}

std::uint64_t ShardedOptimizer::checkpoint_bytes() const {
    return static_cast<std::uint64_t>(3 * whole_.elements - whole_.muons_elements) * sizeof(float);
}

void ShardedOptimizer::load(const checkpoint::CheckpointReader& reader) {
    check_tensors(parameters_, state_, 3 * whole_.tensors - whole_.muons_tensors, reader);
    for (const std::string_view kind : stored_kinds()) {
        if (sharding_.stage() == 0 && kind != kParam) continue;
        for_each_part(sharding_.own_pieces(), kind, [&](const ParameterEntry& entry, const Box& box, float* data) {
            read_box(reader, info_of(entry, kind).id, box, data);
        });
    }
    if (sharding_.stage() == 0) load_whole_state(reader);
}

// Stage 0: every worker updates everything, so it needs all of the state.
void ShardedOptimizer::load_whole_state(const checkpoint::CheckpointReader& reader) {
    for (std::size_t i = 0; i < parameters_.entries().size(); ++i) {
        const ParameterEntry& entry = parameters_.entries()[i];
        const Bucket& bucket = parameters_.layout().buckets[static_cast<std::size_t>(entry.bucket)];
        for (const std::string_view kind : state_.kinds_of(entry)) {
            read_box(reader, info_of(entry, kind).id, entry.box, state_.find(kind, i, entry.offset - bucket.offset));
        }
    }
}

// Every replica loads all of the state, so the fingerprints of the whole are counted once for each.
std::string ShardedOptimizer::complete_load(const checkpoint::CheckpointReader& reader) {
    sharding_.share_out_values();
    std::map<TensorId, std::uint64_t> fingerprints;
    for (const TensorInfo& tensor : reader.tensors()) fingerprints[tensor.id] = 0;
    for (const TensorSlice& slice : slices_of(sharding_.own_pieces()))
        fingerprints.at(slice.tensor.id) += checkpoint::fingerprint(slice);
    std::vector<std::uint64_t> sums;
    for (const auto& [id, part] : fingerprints) sums.push_back(part);
    mesh_.world.all_reduce_sum(std::span<std::uint64_t>(sums));
    for (std::size_t i = 0; const auto& [id, part] : fingerprints) {
        const std::uint64_t found = sums[i++];
        const std::uint64_t expected = reader.fingerprint_of(id) * static_cast<std::uint64_t>(mesh_.replica.size());
        if (found == expected) continue;
        return fmt::format(
            "tensor {} of step {}: expected fingerprint {:016x}, found {:016x} after loading on {} workers",
            to_string(id), reader.step(), expected, found, mesh_.world.size());
    }
    return {};
}

}  // namespace kiban::worker
