// SPDX-License-Identifier: Apache-2.0
// A checkpoint of any layout is read on any other: every element where it belongs, and the fingerprints, summed over
// the workers that read, those of the manifest. All workers of all layouts in one process, by the same functions of
// layout and ownership as the real ones.
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdlib>
#include <filesystem>
#include <map>

#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "checkpoint/state.h"
#include "coordinator/job/ownership.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using checkpoint::Box;
using checkpoint::TensorInfo;

constexpr std::int64_t kVocabulary = 61;
constexpr std::int64_t kTokens = 12;
constexpr std::array<const char*, 3> kKinds = {"param", "exp_avg", "exp_avg_sq"};

struct MeshCase {
    int data;
    int zero;
    int tensor;
    int pipeline;

    std::string text() const {
        return fmt::format("data {} zero {} tensor {} pipeline {}", data, zero, tensor, pipeline);
    }
};

// Data workers that no tensor's size is a multiple of, stages that share 5 layers unevenly, and all axes at once.
constexpr std::array<MeshCase, 12> kMeshes = {{{1, 0, 1, 1},
                                               {2, 1, 1, 1},
                                               {3, 3, 1, 1},
                                               {5, 2, 1, 1},
                                               {1, 1, 2, 1},
                                               {1, 0, 4, 1},
                                               {1, 1, 1, 2},
                                               {1, 3, 1, 5},
                                               {2, 2, 2, 1},
                                               {3, 0, 1, 3},
                                               {2, 3, 2, 2},
                                               {3, 1, 4, 3}}};

ModelConfig model_of(ModelLayout layout) {
    ModelConfig model;
    model.layout = layout;
    model.layers = 5;
    model.d_model = 40;
    model.heads = 8;
    model.kv_heads = layout == ModelLayout::gpt2 ? 8 : 4;
    model.d_hidden = 36;
    return model;
}

// Bits that tell tensor, kind and element (the finaliser of splitmix64).
std::uint32_t bits_of(std::size_t tensor, std::size_t kind, std::int64_t element) {
    std::uint64_t x = static_cast<std::uint64_t>(element) + 0x9E3779B97F4A7C15U * (3 * tensor + kind + 1);
    x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9U;
    x = (x ^ (x >> 27)) * 0x94D049BB133111EBU;
    return static_cast<std::uint32_t>(x ^ (x >> 31));
}

struct Worker {
    Layout layout;
    int data_rank = 0;
    int tensor_rank = 0;
};

struct SharedBox {  // of one kind of a tensor
    std::size_t kind = 0;
    std::size_t tensor = 0;  // of the worker's layout
    Box box;
};

class Reshard : public ::testing::TestWithParam<ModelLayout> {
  protected:
    void SetUp() override {
        std::string name = (fs::temp_directory_path() / "kiban-reshard-XXXXXX").string();
        ASSERT_NE(::mkdtemp(name.data()), nullptr);
        root_ = name;
        for (const TensorSpec& spec : tensor_inventory(model_, kVocabulary, kTokens))
            numbers_.emplace(spec.name, numbers_.size());
    }
    void TearDown() override { fs::remove_all(root_); }

    std::vector<Worker> workers_of(const MeshCase& mesh) const {
        std::vector<Worker> workers;
        for (int data = 0; data < mesh.data; ++data) {
            for (int stage = 0; stage < mesh.pipeline; ++stage) {
                for (int tensor = 0; tensor < mesh.tensor; ++tensor) {
                    const ModelCut cut{mesh.tensor, tensor, mesh.pipeline, stage};
                    workers.push_back({layout_of(model_, kVocabulary, kTokens, cut, mesh.data), data, tensor});
                }
            }
        }
        return workers;
    }

    // At stage 0 a worker loads the whole optimizer state of what it holds; of everything else its own range.
    static std::vector<SharedBox> loaded_boxes(const Worker& worker, const MeshCase& mesh) {
        std::vector<SharedBox> boxes;
        for (std::size_t kind = 0; kind < kKinds.size(); ++kind) {
            if (mesh.zero == 0 && kind > 0) {
                for (std::size_t i = 0; i < worker.layout.tensors.size(); ++i)
                    boxes.push_back({kind, i, worker.layout.tensors[i].box});
            } else {
                for (SharedBox& box : stored_boxes(worker, mesh, kind)) boxes.push_back(std::move(box));
            }
        }
        return boxes;
    }

    static std::vector<SharedBox> stored_boxes(const Worker& worker, const MeshCase& mesh, std::size_t kind) {
        std::vector<SharedBox> boxes;
        for (std::size_t i = 0; i < worker.layout.buckets.size(); ++i) {
            const auto range = owned_range(worker.layout.buckets[i], worker.data_rank, mesh.data);
            for (const OwnedBox& owned : owned_boxes(worker.layout, static_cast<int>(i), range))
                boxes.push_back({kind, owned.tensor, owned.box});
        }
        return boxes;
    }

    static TensorInfo info_of(const TensorSpec& spec, std::size_t kind) {
        return {.id = {spec.name, kKinds[kind]}, .dtype = checkpoint::DType::f32, .shape = spec.shape};
    }

    std::vector<std::uint32_t> expected(const TensorSpec& spec, std::size_t kind, const Box& box) const {
        std::vector<std::uint32_t> bits(static_cast<std::size_t>(checkpoint::num_elements(box.extent)));
        checkpoint::for_each_run(box, checkpoint::whole(spec.shape), box,
                                 [&](std::int64_t in_whole, std::int64_t in_box, std::int64_t count) {
                                     for (std::int64_t i = 0; i < count; ++i)
                                         bits[static_cast<std::size_t>(in_box + i)] =
                                             bits_of(numbers_.at(spec.name), kind, in_whole + i);
                                 });
        return bits;
    }

    fs::path save(const MeshCase& mesh, std::uint64_t step) const {
        const fs::path staging = checkpoint::begin_checkpoint(root_, step, 1, 1 << 20);
        std::vector<checkpoint::ShardReport> reports;
        for (const Worker& worker : workers_of(mesh)) {
            std::vector<std::vector<std::uint32_t>> values;
            std::vector<checkpoint::TensorSlice> slices;
            for (std::size_t kind = 0; kind < kKinds.size(); ++kind) {
                for (const SharedBox& part : stored_boxes(worker, mesh, kind)) {
                    const LocalTensor& tensor = worker.layout.tensors[part.tensor];
                    if (!stores(tensor, worker.tensor_rank)) continue;
                    values.push_back(expected(tensor.spec, kind, part.box));
                    slices.push_back({info_of(tensor.spec, kind), part.box, values.back().data()});
                }
            }
            reports.push_back(checkpoint::write_shard(staging, static_cast<int>(reports.size()), slices));
        }
        checkpoint::RunState state;
        state.step = step;
        return checkpoint::commit_checkpoint(root_, staging, step, 1, reports, checkpoint::to_json(state),
                                             [] { return true; })
            .directory;
    }

    // What is wrong with the first thing that is, when the workers of `mesh` load; empty when nothing is.
    std::string load_fault(const checkpoint::CheckpointReader& reader, const MeshCase& mesh) const {
        std::map<checkpoint::TensorId, std::uint64_t> sums;
        for (const Worker& worker : workers_of(mesh)) {
            for (const SharedBox& part : loaded_boxes(worker, mesh)) {
                const LocalTensor& tensor = worker.layout.tensors[part.tensor];
                const TensorInfo info = info_of(tensor.spec, part.kind);
                const std::vector<std::uint32_t> wanted = expected(tensor.spec, part.kind, part.box);
                std::vector<std::uint32_t> found(wanted.size());
                reader.read(info.id, part.box, found.data());
                if (found != wanted) return fmt::format("{} {}", to_string(info.id), to_string(part.box));
                const bool whole_state = mesh.zero == 0 && part.kind > 0;  // every data worker holds it
                if (stores(tensor, worker.tensor_rank) && (!whole_state || worker.data_rank == 0))
                    sums[info.id] += checkpoint::fingerprint({info, part.box, found.data()});
            }
        }
        for (const TensorInfo& tensor : reader.tensors()) {
            if (sums[tensor.id] != reader.fingerprint_of(tensor.id))
                return fmt::format("fingerprint of {}", to_string(tensor.id));
        }
        return sums.size() == reader.tensors().size() ? "" : "other tensors";
    }

    fs::path root_;
    ModelConfig model_ = model_of(GetParam());
    std::map<std::string, std::size_t> numbers_;
};

TEST_P(Reshard, ACheckpointOfAnyLayoutIsReadOnAnyOther) {
    int pairs = 0;
    for (std::size_t from = 0; from < kMeshes.size(); ++from) {
        const checkpoint::CheckpointReader reader(save(kMeshes[from], from + 1));
        EXPECT_EQ(reader.tensors().size(), kKinds.size() * numbers_.size());
        for (std::size_t to = 0; to < kMeshes.size(); ++to) {
            EXPECT_EQ(load_fault(reader, kMeshes[to]), "") << kMeshes[from].text() << " to " << kMeshes[to].text();
            pairs += from != to;
        }
    }
    EXPECT_EQ(pairs, 132);
}

TEST_P(Reshard, FingerprintsDoNotDependOnTheLayoutThatSaved) {
    const checkpoint::CheckpointReader one(save(kMeshes.front(), 1));
    const checkpoint::CheckpointReader other(save(kMeshes.back(), 2));
    for (const TensorInfo& tensor : one.tensors())
        EXPECT_EQ(one.fingerprint_of(tensor.id), other.fingerprint_of(tensor.id)) << to_string(tensor.id);
}

TEST_P(Reshard, EveryElementOfABucketHasOneOwnerAndPaddingHasNoBox) {
    for (const MeshCase& mesh : kMeshes) {
        for (const Worker& worker : workers_of(mesh)) {
            if (worker.data_rank != 0) continue;
            for (std::size_t i = 0; i < worker.layout.buckets.size(); ++i) {
                const Bucket& bucket = worker.layout.buckets[i];
                std::int64_t element = 0;
                for (int rank = 0; rank < mesh.data; ++rank) {
                    const auto range = owned_range(bucket, rank, mesh.data);
                    for (const OwnedBox& owned : owned_boxes(worker.layout, static_cast<int>(i), range)) {
                        ASSERT_EQ(owned.element, element) << mesh.text() << ", bucket " << bucket.name;
                        element += checkpoint::num_elements(owned.box.extent);
                    }
                }
                EXPECT_EQ(element, bucket.elements) << mesh.text() << ", bucket " << bucket.name;
            }
        }
    }
}

INSTANTIATE_TEST_SUITE_P(Families, Reshard, ::testing::Values(ModelLayout::gpt2, ModelLayout::llama),
                         [](const auto& family) {
                             return std::string(family.param == ModelLayout::gpt2 ? "Gpt2" : "Llama");
                         });

}  // namespace
}  // namespace kiban::coordinator
