// SPDX-License-Identifier: Apache-2.0
#include "coordinator/job/plan_buckets.h"

#include <algorithm>
#include <string_view>

#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

constexpr int kNone = -1;

// The smallest free slot that is large enough, or a new one. By slot number.
class Pool {
  public:
    int take(std::int64_t elements) {
        int best = kNone;
        for (std::size_t i = 0; i < slots_.size(); ++i) {
            const bool fits = !slots_[i].taken && slots_[i].elements >= elements;
            if (fits && (best == kNone || slots_[i].elements < at(best).elements)) best = static_cast<int>(i);
        }
        if (best == kNone) {
            best = static_cast<int>(slots_.size());
            slots_.push_back({elements, false});
        }
        at(best).taken = true;
        return best;
    }
    void give_back(int slot) { at(slot).taken = false; }

    std::uint64_t bytes() const {
        std::int64_t sum = 0;
        for (const Slot& slot : slots_) sum += slot.elements;
        return static_cast<std::uint64_t>(sum) * sizeof(float);
    }

  private:
    struct Slot {
        std::int64_t elements;
        bool taken;
    };
    Slot& at(int slot) { return slots_[static_cast<std::size_t>(slot)]; }
    std::vector<Slot> slots_;
};

int bucket_called(const Layout& layout, std::string_view name) {
    for (std::size_t i = 0; i < layout.buckets.size(); ++i)
        if (layout.buckets[i].name == name) return static_cast<int>(i);
    return kNone;
}

// What the hooks of a micro-batch are told, in the order of worker/model/transformer.cpp.
struct Uses {
    explicit Uses(const PlannedStage& stage) : norm(bucket_called(stage.layout, "norm")) {
        const auto add = [&](std::vector<int>& list, std::string_view name) {
            if (const int bucket = bucket_called(stage.layout, name); bucket != kNone) list.push_back(bucket);
        };
        if (stage.embeds()) {
            add(embedding, "embedding.weight");
            add(embedding, "positions.weight");
        }
        for (std::int64_t layer = stage.layers.begin; layer < stage.layers.end; ++layer)
            add(layers, fmt::format("layers.{}", layer));
        if (stage.scores()) head = bucket_called(stage.layout, stage.gpt2() ? "embedding.weight" : "head.weight");
    }

    std::vector<int> embedding;
    std::vector<int> layers;
    int norm = kNone;
    int head = kNone;
};

class Sharding {
  public:
    explicit Sharding(const PlannedStage& stage) : stage_(stage), uses_(stage), held_(stage.layout.buckets.size()) {}

    void initialise() {
        for (std::size_t i = 0; gathers() && i < held_.size(); ++i) pool_.give_back(take(static_cast<int>(i)));
    }

    void forward() {
        for (const int bucket : uses_.embedding) use(bucket, bucket + 1);
        for (const int bucket : uses_.embedding) release(bucket);
        for (const int bucket : uses_.layers) {
            use(bucket, bucket + 1);
            release(bucket);
        }
        if (!stage_.scores()) return;
        use(uses_.norm, uses_.norm + 1);
        use(uses_.head, kNone);
        add_to_gradients(uses_.head);
        release(uses_.norm);
        release(uses_.head);
    }

    void backward() {
        if (stage_.scores()) {
            through(uses_.norm);
            if (!stage_.ties_here()) reduce(uses_.head);
        }
        for (auto bucket = uses_.layers.rbegin(); bucket != uses_.layers.rend(); ++bucket) through(*bucket);
        for (const int bucket : uses_.embedding) add_to_gradients(bucket);
        for (const int bucket : uses_.embedding) reduce(bucket);
    }

    std::uint64_t bytes() const { return pool_.bytes(); }

  private:
    struct Held {  // slots
        int values = kNone;
        int gradients = kNone;
        int users = 0;
    };

    bool gathers() const { return stage_.input.parallel.zero == 3; }
    Held& held(int bucket) { return held_.at(static_cast<std::size_t>(bucket)); }
    int take(int bucket) { return pool_.take(stage_.layout.buckets.at(static_cast<std::size_t>(bucket)).padded); }

    void gather(int bucket) {
        if (held(bucket).values == kNone) held(bucket).values = take(bucket);
    }
    void use(int bucket, int next) {
        if (!gathers()) return;
        gather(bucket);
        if (next != kNone && next < static_cast<int>(held_.size())) gather(next);
        ++held(bucket).users;
    }
    void release(int bucket) {
        if (!gathers() || --held(bucket).users > 0) return;
        pool_.give_back(held(bucket).values);
        held(bucket).values = kNone;
    }
    void add_to_gradients(int bucket) {
        if (held(bucket).gradients == kNone) held(bucket).gradients = take(bucket);
    }
    void reduce(int bucket) {
        pool_.give_back(held(bucket).gradients);
        held(bucket).gradients = kNone;
    }
    void through(int bucket) {  // the backward pass of the norm or a layer
        const bool layer_before = std::find(uses_.layers.begin(), uses_.layers.end(), bucket - 1) != uses_.layers.end();
        use(bucket, layer_before ? bucket - 1 : kNone);
        add_to_gradients(bucket);
        release(bucket);
        reduce(bucket);
    }

    const PlannedStage& stage_;
    Uses uses_;
    Pool pool_;
    std::vector<Held> held_;
};

}  // namespace

std::uint64_t pool_bytes(const PlannedStage& stage) {
    if (stage.input.parallel.zero < 2) return 0;
    Sharding sharding(stage);
    sharding.initialise();
    for (int pass = 0; pass < 2; ++pass) {  // the first may leave slots that the second makes better use of
        sharding.forward();
        sharding.backward();
    }
    return sharding.bytes();
}

std::vector<std::uint64_t> uses_of_buckets(const PlannedStage& stage) {
    const Uses uses(stage);
    std::vector<std::uint64_t> times(stage.layout.buckets.size());
    const auto add = [&](int bucket, std::uint64_t more) { times.at(static_cast<std::size_t>(bucket)) += more; };
    for (const int bucket : uses.embedding) add(bucket, 1);  // forward alone
    for (const int bucket : uses.layers) add(bucket, 2);     // recomputing needs no third
    if (stage.scores()) {
        add(uses.norm, 2);
        add(uses.head, 1);  // its gradients are computed in its forward pass
    }
    return times;
}

}  // namespace kiban::coordinator
