// SPDX-License-Identifier: Apache-2.0
#include "worker/parallel/zero_sharding.h"

#include <iterator>

#include "coordinator/job/ownership.h"
#include "monitoring/error.h"
#include "worker/device/memory.h"

namespace kiban::worker {

using checkpoint::Part;
using coordinator::Bucket;

struct ZeroSharding::Shard {
    FlatBuffer values;        // stage 3: of the own range
    FlatBuffer gradients;     // stages 2 and 3
    bool reduced = false;     // a micro-batch of this step is in `gradients`
    int users = 0;            // stage 3: passes that need the whole bucket now
    float* coming = nullptr;  // stage 3: memory of a gather that was started for the next user
    bool summing = false;     // the sum that completes the own part was started
    Handle handle;            // of the gather, or of the sum over shards
    Handle over_replicas;     // of the sum that comes after it
};

Held held_at(int zero_stage) { return {.values = zero_stage < 3, .gradients = zero_stage < 2}; }

ZeroSharding::ZeroSharding(Parameters& parameters, int stage, const Mesh& mesh)
    : parameters_(parameters), stage_(stage), mesh_(mesh), shards_(parameters.layout().buckets.size()) {
    if (stage < 0 || stage > 3) throw ConfigError("parallel.zero: expected 0 to 3, found {}", stage);
    KIBAN_CHECK(
        parameters.held().values == held_at(stage).values && parameters.held().gradients == held_at(stage).gradients,
        "share out parameters at ZeRO stage {}: they were laid out for another stage", stage);
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        const std::int64_t own = own_range(static_cast<int>(i)).size();
        if (stage == 3) shards_[i].values = zeroed_buffer(own);
        if (stage >= 2) shards_[i].gradients = zeroed_buffer(own);
    }
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        if (parameters_.layout().buckets[i].name == "norm") norm_ = static_cast<int>(i);
    }
    if (stage >= 2) {
        parameters_.on_missing_gradients([this](int bucket) {
            parameters_.attach_gradients(
                bucket, pool_.take(parameters_.layout().buckets[static_cast<std::size_t>(bucket)].padded));
        });
    }
}

ZeroSharding::~ZeroSharding() { parameters_.on_missing_gradients({}); }

Part ZeroSharding::own_range(int bucket) const {
    const Bucket& here = parameters_.layout().buckets.at(static_cast<std::size_t>(bucket));
    return coordinator::owned_range(here, mesh_.shard.rank(), mesh_.shard.size());
}

float* ZeroSharding::own_values(int bucket) {
    if (stage_ == 3) return shards_.at(static_cast<std::size_t>(bucket)).values.get();
    return parameters_.bucket_values(bucket) + own_range(bucket).begin;
}

float* ZeroSharding::own_gradients(int bucket) {
    if (stage_ >= 2) return shards_.at(static_cast<std::size_t>(bucket)).gradients.get();
    return parameters_.bucket_gradients(bucket) + own_range(bucket).begin;
}

void ZeroSharding::start_gather(int bucket) {
    const Bucket& here = parameters_.layout().buckets.at(static_cast<std::size_t>(bucket));
    Shard& shard = shards_.at(static_cast<std::size_t>(bucket));
    if (shard.users > 0 || shard.coming != nullptr) return;
    shard.coming = pool_.take(here.padded);
    const Part own = own_range(bucket);
    copy_floats(shard.values.get(), own.size(), shard.coming + own.begin);
    shard.handle = mesh_.shard.start_all_gather(std::span<float>(shard.coming, static_cast<std::size_t>(here.padded)));
}

// The next bucket begins to come while this one is used.
void ZeroSharding::gather(int bucket, int next) {
    Shard& shard = shards_.at(static_cast<std::size_t>(bucket));
    start_gather(bucket);
    if (next >= 0) start_gather(next);
    if (shard.users++ > 0) return;
    shard.handle.wait();
    parameters_.attach_values(bucket, shard.coming);
    shard.coming = nullptr;
}

// Outside the layers, the backward pass reads nothing but the last norm.
int ZeroSharding::layer_or_none(int bucket) const {
    if (bucket < 0) return -1;
    return parameters_.layout().buckets[static_cast<std::size_t>(bucket)].name.starts_with("layers.") ? bucket : -1;
}

void ZeroSharding::before_forward(int bucket) {
    if (stage_ != 3) return;
    const bool in_head = norm_ >= 0 && bucket != norm_ && shards_[static_cast<std::size_t>(norm_)].users > 0;
    const bool last = static_cast<std::size_t>(bucket) + 1 == shards_.size();
    gather(bucket, in_head || last ? -1 : bucket + 1);  // what would come after the head is used after an update
}

void ZeroSharding::after_forward(int bucket) {
    if (stage_ != 3) return;
    if (--shards_.at(static_cast<std::size_t>(bucket)).users > 0) return;
    pool_.give_back(parameters_.bucket_values(bucket));
    parameters_.attach_values(bucket, nullptr);
}

void ZeroSharding::before_backward(int bucket) {
    if (stage_ == 3) gather(bucket, layer_or_none(bucket - 1));
}

void ZeroSharding::after_backward(int bucket) {
    Shard& shard = shards_.at(static_cast<std::size_t>(bucket));
    if (stage_ == 3 && shard.users > 0) after_forward(bucket);
    if (stage_ >= 2) reduce(bucket);
    if (reduces_early_) start_sum(bucket);
}

void ZeroSharding::begin_step() {
    parameters_.zero_gradients();
    reduces_early_ = false;
    for (Shard& shard : shards_) shard.reduced = shard.summing = false;
}

std::span<float> ZeroSharding::whole_gradients(int bucket) {
    return {parameters_.bucket_gradients(bucket),
            static_cast<std::size_t>(parameters_.layout().buckets.at(static_cast<std::size_t>(bucket)).padded)};
}

// What is left to be summed once a step: at stages 0 and 1 over shards and replicas, at 2 and 3 over replicas.
void ZeroSharding::start_sum(int bucket) {
    Shard& shard = shards_.at(static_cast<std::size_t>(bucket));
    if (stage_ < 2) {
        const std::span<float> gradients = whole_gradients(bucket);
        sum_partial_tensors(bucket, gradients.data());
        shard.handle = mesh_.shard.start_reduce_scatter_sum(gradients);
    } else if (!shard.reduced) {  // no micro-batch of this step added anything
        fill_floats(shard.gradients.get(), own_range(bucket).size(), 0.0F);
    }
    start_sum_over_replicas(bucket);
    shard.summing = true;
}

// Verbs are done in the order in which they were begun: the sum over the shards comes first.
void ZeroSharding::start_sum_over_replicas(int bucket) {
    shards_.at(static_cast<std::size_t>(bucket)).over_replicas = mesh_.replica.start_all_reduce_sum(
        std::span<float>(own_gradients(bucket), static_cast<std::size_t>(own_range(bucket).size())));
}

// Packed, so that the many small tensors of a bucket travel as one.
void ZeroSharding::sum_partial_tensors(int bucket, float* gradients) {
    if (mesh_.tensor.size() == 1) return;
    const Bucket& here = parameters_.layout().buckets.at(static_cast<std::size_t>(bucket));
    std::vector<std::span<float>> parts;
    std::int64_t elements = 0;
    for (std::size_t i = here.first; i <= here.last; ++i) {
        const ParameterEntry& entry = parameters_.entries()[i];
        if (!entry.partial) continue;
        parts.emplace_back(gradients + (entry.offset - here.offset), static_cast<std::size_t>(entry.elements()));
        elements += entry.elements();
    }
    if (parts.size() == 1) return mesh_.tensor.all_reduce_sum(parts.front());
    DeviceFloats packed(elements);
    for (float* place = packed.data(); const std::span<float> part : parts) {
        copy_floats(part.data(), std::ssize(part), place);
        place += part.size();
    }
    mesh_.tensor.all_reduce_sum(packed.span());
    for (const float* place = packed.data(); const std::span<float> part : parts) {
        copy_floats(place, std::ssize(part), part.data());
        place += part.size();
    }
}

// Stages 2 and 3: the gradients of one micro-batch are summed over the shards and added to the own part.
void ZeroSharding::reduce(int bucket) {
    const Bucket& here = parameters_.layout().buckets.at(static_cast<std::size_t>(bucket));
    Shard& shard = shards_.at(static_cast<std::size_t>(bucket));
    float* gradients = parameters_.bucket_gradients(bucket);
    if (gradients == nullptr) return;  // this micro-batch added nothing
    fill_floats(gradients + here.elements, here.padded - here.elements, 0.0F);
    sum_partial_tensors(bucket, gradients);
    mesh_.shard.reduce_scatter_sum(std::span<float>(gradients, static_cast<std::size_t>(here.padded)));
    const Part own = own_range(bucket);
    float* sums = shard.gradients.get();
    if (shard.reduced) {
        add_floats(gradients + own.begin, own.size(), sums);
    } else {
        copy_floats(gradients + own.begin, own.size(), sums);
    }
    shard.reduced = true;
    parameters_.detach_gradients(bucket);
    pool_.give_back(gradients);
}

void ZeroSharding::reduce_gradients() {
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        if (!shards_[i].summing) start_sum(static_cast<int>(i));
    }
    for (Shard& shard : shards_) {
        if (stage_ < 2) shard.handle.wait();
        shard.over_replicas.wait();
        shard.summing = false;
    }
    sum_tied_copies();
    if (stage_ > 0) return;
    for (std::size_t i = 0; i < shards_.size(); ++i) mesh_.shard.all_gather(whole_gradients(static_cast<int>(i)));
}

// Both stages own the same range of the embedding, whatever else they hold.
void ZeroSharding::sum_tied_copies() {
    if (mesh_.tied.size() == 1) return;
    const int bucket = parameters_.entry("embedding.weight").bucket;
    mesh_.tied.all_reduce_sum(
        std::span<float>(own_gradients(bucket), static_cast<std::size_t>(own_range(bucket).size())));
}

void ZeroSharding::publish_values() {
    for (const Shard& shard : shards_) KIBAN_CHECK(shard.coming == nullptr, "a bucket was gathered before an update");
    parameters_.values_changed();
    if (stage_ != 0) share_out_values();
}

void ZeroSharding::share_out_values() {
    parameters_.values_changed();
    if (stage_ == 3) return;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        mesh_.shard.all_gather(std::span<float>(parameters_.bucket_values(static_cast<int>(i)),
                                                static_cast<std::size_t>(parameters_.layout().buckets[i].padded)));
    }
}

void ZeroSharding::initialise(std::uint64_t seed) {
    if (stage_ < 3) return parameters_.initialise(seed);
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        const int bucket = static_cast<int>(i);
        const std::int64_t padded = parameters_.layout().buckets[i].padded;
        float* whole = pool_.take(padded);
        fill_floats(whole, padded, 0.0F);
        parameters_.attach_values(bucket, whole);
        parameters_.initialise_bucket(bucket, seed);
        const Part own = own_range(bucket);
        copy_floats(whole + own.begin, own.size(), shards_[i].values.get());
        parameters_.attach_values(bucket, nullptr);
        pool_.give_back(whole);
    }
}

std::vector<OwnedPiece> ZeroSharding::own_pieces() {
    std::vector<OwnedPiece> pieces;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        const int bucket = static_cast<int>(i);
        pieces.push_back({bucket, own_range(bucket), own_values(bucket), own_gradients(bucket)});
    }
    return pieces;
}

// Whole blocks: a bucket has as many of them for each replica of each shard.
std::vector<OwnedPiece> ZeroSharding::stored_pieces() {
    std::vector<OwnedPiece> pieces = own_pieces();
    for (OwnedPiece& piece : pieces) {
        const Part share = checkpoint::part_of(piece.range.size(), mesh_.replica.rank(), mesh_.replica.size());
        piece.values += share.begin;
        piece.gradients += share.begin;
        piece.range = {piece.range.begin + share.begin, piece.range.begin + share.end};
    }
    return pieces;
}

std::vector<OwnedPiece> ZeroSharding::updated_pieces() {
    if (stage_ > 0) return own_pieces();
    std::vector<OwnedPiece> pieces;
    for (std::size_t i = 0; i < shards_.size(); ++i) {
        const int bucket = static_cast<int>(i);
        pieces.push_back({bucket,
                          {0, parameters_.layout().buckets[i].padded},
                          parameters_.bucket_values(bucket),
                          parameters_.bucket_gradients(bucket)});
    }
    return pieces;
}

}  // namespace kiban::worker
