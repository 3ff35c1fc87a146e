// SPDX-License-Identifier: Apache-2.0
#include "tests/checkpoint/small_model.h"

#include <stdlib.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <cstring>
#include <fstream>
#include <future>
#include <sstream>

#include "checkpoint/background_writer.h"
#include "monitoring/error.h"

namespace kiban::checkpoint::testing {
namespace {

namespace fs = std::filesystem;

template <typename Value>
std::uint64_t bits_of(Value value) {
    std::uint64_t bits = 0;
    std::memcpy(&bits, &value, sizeof value);
    return bits;
}

std::vector<Box> dim_layout(const TensorInfo& tensor, std::size_t dim, int rank, int ranks) {
    if (tensor.shape.empty()) return rank == 0 ? std::vector<Box>{Box{}} : std::vector<Box>{};
    const Part part = part_of(tensor.shape[dim], rank, ranks);
    Box box = whole(tensor.shape);
    box.offset[dim] = part.begin;
    box.extent[dim] = part.size();
    return {box};  // may be empty, which is legal
}

}  // namespace

std::vector<TensorInfo> small_model() {
    std::vector<TensorInfo> model;
    for (const char* kind : {"param", "exp_avg", "exp_avg_sq"}) {
        model.push_back({{"embedding.weight", kind}, DType::f32, {11, 6}});
        model.push_back({{"layers.0.attention.q.weight", kind}, DType::f32, {7, 5}});
        model.push_back({{"layers.0.attention.q.bias", kind}, DType::f32, {5}});
        model.push_back({{"norm.weight", kind}, DType::f32, {13}});
    }
    model.push_back({{"experts.weight", "param"}, DType::bf16, {3, 5, 7}});
    model.push_back({{"scale", "param"}, DType::f32, {}});
    model.push_back({{"nothing", "param"}, DType::f32, {0, 3}});
    model.push_back({{"counts", "param"}, DType::i64, {9}});
    model.push_back({{"precise", "param"}, DType::f64, {2, 3, 4}});
    model.push_back({{"mask", "param"}, DType::u8, {3, 3}});
    return model;
}

std::vector<TensorInfo> tiny_model() {
    return {{{"embedding.weight", "param"}, DType::f32, {11, 6}},
            {{"embedding.weight", "exp_avg"}, DType::f32, {11, 6}},
            {{"scale", "param"}, DType::f32, {}}};
}

std::uint64_t element_bits(const TensorInfo& tensor, std::uint64_t step, std::int64_t index) {
    std::int64_t key = static_cast<std::int64_t>(step) * 1000;
    for (const char c : tensor.id.name + "/" + tensor.id.kind) key += c;
    const std::int64_t value = (key * 31 + index * 7) % 4001 - 2000;
    switch (tensor.dtype) {
        case DType::f32: return bits_of(static_cast<float>(value) / 8.0F);
        case DType::f64: return bits_of(static_cast<double>(value) / 8.0);
        case DType::bf16: return static_cast<std::uint64_t>(value) & 0xFFFFU;
        case DType::i64: return static_cast<std::uint64_t>(value * 1000003);
        case DType::u8: return static_cast<std::uint64_t>(value) & 0xFFU;
    }
    throw InternalError("dtype");
}

std::vector<std::byte> box_bytes(const TensorInfo& tensor, std::uint64_t step, const Box& box) {
    const std::size_t size = element_bytes(tensor.dtype);
    std::vector<std::byte> bytes(static_cast<std::size_t>(num_elements(box.extent)) * size);
    // By division of the flat number, not by the runs that the code under test uses.
    for (std::size_t i = 0; i * size < bytes.size(); ++i) {
        auto rest = static_cast<std::int64_t>(i);
        std::int64_t index = 0;
        std::int64_t stride = 1;
        for (std::size_t dim = box.extent.size(); dim-- > 0;) {
            index += (box.offset[dim] + rest % box.extent[dim]) * stride;
            rest /= box.extent[dim];
            stride *= tensor.shape[dim];
        }
        const std::uint64_t bits = element_bits(tensor, step, index);
        std::memcpy(bytes.data() + i * size, &bits, size);
    }
    return bytes;
}

std::vector<Box> flat_layout(const TensorInfo& tensor, int rank, int ranks) {
    if (num_elements(tensor.shape) == 0) return {whole(tensor.shape)};  // a tensor is stored even when it holds nothing
    const Part part = part_of(num_elements(tensor.shape), rank, ranks);
    return boxes_of_flat_range(tensor.shape, part.begin, part.end);
}
std::vector<Box> first_dim_layout(const TensorInfo& tensor, int rank, int ranks) {
    return dim_layout(tensor, 0, rank, ranks);
}
std::vector<Box> last_dim_layout(const TensorInfo& tensor, int rank, int ranks) {
    return dim_layout(tensor, tensor.shape.empty() ? 0 : tensor.shape.size() - 1, rank, ranks);
}

RunState state_of(const Save& save) {
    RunState state;
    state.step = save.step;
    state.tokens = save.step * 768;
    state.position = save.step * 12;
    state.seed = 1337;
    state.run_file = "[run]\nname = \"char\"\n";
    state.data_digest = "c0ffee";
    state.tokenizer = "bytes";
    state.sequence_length = 64;
    state.workers = save.writers;
    state.threads_per_worker = 1;
    state.micro_batch_rows = 6;
    state.reduction = "fast";
    return state;
}

std::vector<monitoring::CurveRow> curve_rows(std::uint64_t last) {
    std::vector<monitoring::CurveRow> rows;
    for (std::uint64_t step = 1; step <= last; ++step) {
        const auto number = static_cast<double>(step);
        monitoring::CurveRow row{.step = step, .tokens = step * 768, .loss = 8 - number / 16};
        row.learning_rate = number / 1024;
        row.grad_norm = number / 4;
        if (step % 2 == 0) {
            row.eval_loss = 7 - number / 16;
            row.eval_accuracy = number / 1024;
            row.eval_targets = 4096;
        }
        row.step_seconds = 0.25;
        row.wall_time = 1700000000 + number;
        row.attempt = 1;
        rows.push_back(row);
    }
    return rows;
}

std::string curve_text(const std::vector<monitoring::CurveRow>& rows) {
    std::ostringstream text;
    monitoring::write_csv(text, rows, true);
    return text.str();
}

std::uint64_t model_bytes(const std::vector<TensorInfo>& model) {
    std::uint64_t bytes = 0;
    for (const TensorInfo& tensor : model)
        bytes += static_cast<std::uint64_t>(num_elements(tensor.shape)) * element_bytes(tensor.dtype);
    return bytes;
}

namespace {

ShardReport write_in_background(const fs::path& staging, int rank, const std::vector<TensorSlice>& slices,
                                std::uint64_t step) {
    std::promise<ShardDone> done;
    BackgroundWriter writer;
    const std::uint64_t slot = std::max<std::uint64_t>(stream_bytes(slices) / 24, 1) * 8;  // a third of the shard
    writer.open({.slot_bytes = slot, .slots = 2}, {.done = [&](ShardDone answer) { done.set_value(answer); }});
    writer.begin({.step = step, .index = rank, .slices = slices}, CopyMode::lazy);
    writer.place(step, staging, "");
    ShardDone answer = done.get_future().get();
    if (!answer.report) throw IoError("{}", answer.error);
    return *std::move(answer.report);
}

}  // namespace

ShardReport write_shard_of(const Save& save, const fs::path& staging, int rank) {
    std::vector<std::vector<std::byte>> buffers;
    std::vector<TensorSlice> slices;
    for (const TensorInfo& tensor : save.model) {
        for (const Box& box : save.layout(tensor, rank, save.writers)) {
            buffers.push_back(box_bytes(tensor, save.step, box));
            slices.push_back({tensor, box, buffers.back().data()});
        }
    }
    return save.in_background ? write_in_background(staging, rank, slices, save.step)
                              : write_shard(staging, rank, slices);
}

std::vector<ShardReport> write_shards(const Save& save, const fs::path& staging) {
    std::vector<ShardReport> reports;
    for (int rank = 0; rank < save.writers; ++rank) reports.push_back(write_shard_of(save, staging, rank));
    return reports;
}

CheckpointInfo write_checkpoint(const Save& save) {
    const fs::path staging = begin_checkpoint(save.run_dir, save.step, save.attempt, model_bytes(save.model));
    try {
        const auto reports = write_shards(save, staging);
        const auto curve = write_curve(staging, curve_rows(save.step + 2), save.step);  // training has gone on
        return commit_checkpoint(
            save.run_dir, staging, save.step, save.attempt, reports, to_json(state_of(save)), [] { return true; },
            curve);
    } catch (...) {
        abandon_checkpoint(staging);
        throw;
    }
}

std::vector<std::string> wrong_tensors(const CheckpointReader& reader, const std::vector<TensorInfo>& model,
                                       const Layout& layout, int ranks) {
    std::vector<std::string> wrong;
    for (const TensorInfo& tensor : model) {
        bool good = reader.has(tensor.id);
        std::uint64_t sum = 0;
        for (int rank = 0; good && rank < ranks; ++rank) {
            for (const Box& box : layout(tensor, rank, ranks)) {
                const auto expected = box_bytes(tensor, reader.step(), box);
                std::vector<std::byte> found(expected.size());
                reader.read(tensor.id, box, found.data());
                good = good && found == expected;
                sum += fingerprint({tensor, box, found.data()});
            }
        }
        if (!good || sum != reader.fingerprint_of(tensor.id)) wrong.push_back(to_string(tensor.id));
    }
    return wrong;
}

Scratch::Scratch(const fs::path& parent) {
    std::string name = (parent / "kiban-checkpoint-XXXXXX").string();
    if (::mkdtemp(name.data()) == nullptr) throw IoError("cannot make a scratch directory '{}'", name);
    path_ = name;
}
Scratch::~Scratch() {
    std::error_code error;
    fs::remove_all(path_, error);
}

CommandResult run_command(const std::string& command) {
    FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
    if (pipe == nullptr) throw IoError("cannot run '{}'", command);
    CommandResult result;
    std::array<char, 4096> buffer{};
    while (const std::size_t got = std::fread(buffer.data(), 1, buffer.size(), pipe))
        result.output.append(buffer.data(), got);
    result.status = ::pclose(pipe);
    return result;
}

void flip_bit(const fs::path& file, std::uint64_t byte, int bit) {
    std::fstream stream(file, std::ios::in | std::ios::out | std::ios::binary);
    stream.seekg(static_cast<std::streamoff>(byte));
    const int old = stream.get();
    stream.seekp(static_cast<std::streamoff>(byte));
    stream.put(static_cast<char>(old ^ (1 << bit)));
    stream.close();
    if (!stream) throw IoError("cannot flip bit {} of byte {} in '{}'", bit, byte, file.string());
}

void put_text(const fs::path& file, const std::string& text) {
    std::ofstream stream(file, std::ios::binary);
    stream << text;
    stream.close();
    if (!stream) throw IoError("cannot write '{}'", file.string());
}

std::size_t entries_in(const fs::path& directory) {
    if (!fs::exists(directory)) return 0;
    return static_cast<std::size_t>(std::distance(fs::directory_iterator(directory), fs::directory_iterator()));
}

}  // namespace kiban::checkpoint::testing
