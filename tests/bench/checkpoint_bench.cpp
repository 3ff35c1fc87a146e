// SPDX-License-Identifier: Apache-2.0
// What checking costs: a durable shard against the same bytes written plainly and synced, and a verified load against a
// plain read of the same bytes; and what a save beside training costs it: the copy at a step's boundary against a plain
// copy into warm memory, the wait before the next update, the memory. Both sides alternate within one run on the same
// disk; only their ratio means something. Set TMPDIR to choose the disk.
#include <benchmark/benchmark.h>
#include <fcntl.h>

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <fstream>
#include <mutex>
#include <random>
#include <thread>

#include "checkpoint/background_writer.h"
#include "checkpoint/commit.h"
#include "checkpoint/reader.h"
#include "checkpoint/shard.h"
#include "monitoring/file.h"

namespace kiban::checkpoint {
namespace {

namespace fs = std::filesystem;
using monitoring::File;

constexpr std::size_t kChunkBytes = 4U << 20;

// A directory of this process, removed at the end.
class BenchDirectory {
  public:
    BenchDirectory() : path_(fs::temp_directory_path() / ("kiban-bench-" + std::to_string(std::random_device()()))) {
        fs::create_directories(path_);
    }
    ~BenchDirectory() {
        std::error_code error;
        fs::remove_all(path_, error);
    }
    BenchDirectory(const BenchDirectory&) = delete;
    BenchDirectory& operator=(const BenchDirectory&) = delete;
    const fs::path& path() const { return path_; }

  private:
    fs::path path_;
};

// Eight tensors, as the parameters and moments of a model: random, so that no layer below can make them smaller.
class Payload {
  public:
    explicit Payload(std::int64_t mebibytes) : values_(static_cast<std::size_t>(mebibytes) << 18U) {
        std::mt19937 engine(1);
        std::ranges::generate(values_, [&] { return static_cast<std::uint32_t>(engine()); });
        const auto rows = static_cast<std::int64_t>(values_.size() / kTensors / 1024);
        for (std::size_t i = 0; i < kTensors; ++i) {
            const TensorInfo tensor{{"layers." + std::to_string(i) + ".weight", "param"}, DType::f32, {rows, 1024}};
            slices_.push_back({tensor, whole(tensor.shape), values_.data() + i * values_.size() / kTensors});
        }
    }
    std::span<const TensorSlice> slices() const { return slices_; }
    std::span<const std::byte> bytes() const { return std::as_bytes(std::span(values_)); }

  private:
    static constexpr std::size_t kTensors = 8;
    std::vector<std::uint32_t> values_;
    std::vector<TensorSlice> slices_;
};

template <typename Action>
double seconds_of(const Action& action) {
    const auto begin = std::chrono::steady_clock::now();
    action();
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double median(std::vector<double> values) {
    std::ranges::sort(values);
    return values[values.size() / 2];
}

// Times both sides once per iteration, in turns first, each after `prepare`, and reports medians. The ratio is of
// speeds: 1 is as fast as the plain side.
template <typename Prepare, typename Ours, typename Plain>
void compare(benchmark::State& state, std::size_t bytes, const char* name, const Prepare& prepare, const Ours& ours,
             const Plain& plain) {
    std::vector<double> our_seconds;
    std::vector<double> plain_seconds;
    const auto time_ours = [&] {
        prepare();
        our_seconds.push_back(seconds_of(ours));
    };
    const auto time_plain = [&] {
        prepare();
        plain_seconds.push_back(seconds_of(plain));
    };
    for (auto _ : state) {
        const bool plain_first = our_seconds.size() % 2 == 1;
        if (plain_first) time_plain();
        time_ours();
        if (!plain_first) time_plain();
        state.SetIterationTime(our_seconds.back());
    }
    const double megabytes = static_cast<double>(bytes) / 1e6;
    state.counters[std::string(name) + "_MB_per_second"] = megabytes / median(our_seconds);
    state.counters["plain_MB_per_second"] = megabytes / median(plain_seconds);
    state.counters["speed_ratio"] = median(plain_seconds) / median(our_seconds);
}

void write_plainly(const BenchDirectory& directory, const Payload& payload) {
    File file = File::create(directory.path() / "plain");
    for (std::size_t at = 0; at < payload.bytes().size(); at += kChunkBytes) {
        file.write_at(at, payload.bytes().subspan(at, kChunkBytes));
    }
    file.sync();
    file.close();
}

void durable_shard(benchmark::State& state) {
    const BenchDirectory directory;
    const Payload payload(state.range(0));
    const auto remove_both = [&] {
        fs::remove(directory.path() / shard_file_name(0));
        fs::remove(directory.path() / "plain");
    };
    const auto shard = [&] { benchmark::DoNotOptimize(write_shard(directory.path(), 0, payload.slices())); };
    compare(state, payload.bytes().size(), "shard", remove_both, shard, [&] { write_plainly(directory, payload); });
}
BENCHMARK(durable_shard)->Arg(64)->Arg(512)->Iterations(7)->UseManualTime()->Unit(benchmark::kMillisecond);

std::uint64_t resident_bytes() {
    std::ifstream statm("/proc/self/statm");
    std::uint64_t total = 0;
    std::uint64_t resident = 0;
    statm >> total >> resident;
    return resident * 4096;
}

// A writer as a worker has it, of one shard after another into a directory.
class Background {
  public:
    Background(const Payload& payload, std::int64_t pool_mib) : payload_(payload) {
        CheckpointConfig config;
        config.pool_mib = static_cast<std::uint64_t>(pool_mib);
        const PoolSize size = pool_size(config, stream_bytes(payload.slices()));
        before_ = resident_bytes();
        writer_.open(size, {.done =
                                [this](ShardDone done) {
                                    const std::lock_guard lock(mutex_);
                                    error_ = done.error;
                                    done_ = true;
                                    changed_.notify_all();
                                },
                            .may_write =
                                [this] {
                                    most_ = std::max(most_, resident_bytes());
                                    return true;
                                }});
    }
    void begin(CopyMode mode) {
        done_ = false;
        ++step_;
        writer_.begin({.step = step_, .index = 0, .slices = {payload_.slices().begin(), payload_.slices().end()}},
                      mode);
    }
    void clear() const { fs::remove(directory_.path() / shard_file_name(0)); }
    void place() { writer_.place(step_, directory_.path(), ""); }
    void wait_copied() {
        while (!writer_.wait_copied(1)) {
        }
    }
    void wait_written(benchmark::State& state) {
        std::unique_lock lock(mutex_);
        changed_.wait(lock, [this] { return done_; });
        if (!error_.empty()) state.SkipWithError(error_.c_str());
    }
    double pool_mib() const { return static_cast<double>(writer_.pool().size().bytes()) / (1 << 20); }
    double grown_mib() const { return static_cast<double>(most_ - before_) / (1 << 20); }

  private:
    const Payload& payload_;
    BenchDirectory directory_;
    std::uint64_t step_ = 0;
    std::uint64_t before_ = 0;
    std::uint64_t most_ = 0;
    std::mutex mutex_;
    std::condition_variable changed_;
    bool done_ = false;
    std::string error_;
    BackgroundWriter writer_;
};

constexpr double kStepSeconds = 2;

// Work that leaves the memory alone, as a forward and backward pass leaves the state.
void compute(double seconds) {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    double value = 1;
    while (std::chrono::steady_clock::now() < end) {
        for (int i = 0; i < 1000; ++i) benchmark::DoNotOptimize(value = value * 1.0000001 + 1e-9);
    }
}

// stall_ratio: the stall over that of a copy into memory that was touched before. Goals: 1.15 for a snapshot, a quarter
// of that for a lazy copy beside a step of two seconds, which this much state takes on two cores. memory: above the
// pool; goal 64 MiB.
void stall_of_a_save(benchmark::State& state) {
    const Payload payload(state.range(0));
    const CopyMode mode = state.range(1) != 0 ? CopyMode::lazy : CopyMode::snapshot;
    std::vector<std::byte> warm(payload.bytes().size(), std::byte{1});
    Background background(payload, state.range(2));
    std::vector<double> stalls;
    std::vector<double> copies;
    for (auto _ : state) {
        background.clear();
        copies.push_back(seconds_of([&] {
            std::memcpy(warm.data(), payload.bytes().data(), warm.size());
            benchmark::ClobberMemory();
        }));
        double stall = seconds_of([&] { background.begin(mode); });
        background.place();
        compute(kStepSeconds);
        stall += seconds_of([&] { background.wait_copied(); });
        stalls.push_back(stall);
        background.wait_written(state);
        state.SetIterationTime(stall);
    }
    state.counters["stall_ratio"] = median(stalls) / median(copies);
    state.counters["copy_GB_per_second"] = static_cast<double>(warm.size()) / 1e9 / median(copies);
    state.counters["pool_MiB"] = background.pool_mib();
    state.counters["memory_above_pool_MiB"] = background.grown_mib() - background.pool_mib();
}
BENCHMARK(stall_of_a_save)
    ->ArgNames({"MiB", "lazy", "pool_MiB"})
    ->Args({512, 0, 0})
    ->Args({512, 1, 0})
    ->Args({512, 1, 64})
    ->Iterations(7)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

void durable_shard_in_background(benchmark::State& state) {
    const BenchDirectory directory;
    const Payload payload(state.range(0));
    Background background(payload, state.range(1));
    const auto remove_both = [&] {
        fs::remove(directory.path() / "plain");
        background.clear();
    };
    const auto shard = [&] {
        background.begin(state.range(1) == 0 ? CopyMode::snapshot : CopyMode::lazy);
        background.place();
        background.wait_copied();
        background.wait_written(state);
    };
    compare(state, payload.bytes().size(), "shard", remove_both, shard, [&] { write_plainly(directory, payload); });
}
BENCHMARK(durable_shard_in_background)
    ->ArgNames({"MiB", "pool_MiB"})
    ->Args({512, 0})
    ->Args({512, 64})
    ->Iterations(7)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

void verified_load(benchmark::State& state) {
    const bool from_disk = state.range(1) != 0;
    const BenchDirectory directory;
    const Payload payload(state.range(0));
    const fs::path staging = begin_checkpoint(directory.path(), 1, 1, payload.bytes().size());
    const auto report = write_shard(staging, 0, payload.slices());
    const auto info =
        commit_checkpoint(directory.path(), staging, 1, 1, {report}, nlohmann::json::object(), [] { return true; });
    const File file = File::open_read(info.directory / report.file);
    std::vector<std::byte> target(payload.bytes().size());
    const auto forget = [&] {
        if (from_disk) ::posix_fadvise(file.descriptor(), 0, 0, POSIX_FADV_DONTNEED);
    };
    const std::size_t tensor_bytes = target.size() / report.boxes.size();
    const auto verified = [&] {
        const CheckpointReader reader(info.directory);
        std::byte* to = target.data();
        for (const TensorSlice& slice : payload.slices()) {
            reader.read(slice.tensor.id, slice.box, to);
            to += tensor_bytes;
        }
    };
    const auto plain = [&] {
        std::byte* to = target.data();
        for (const StoredBox& stored : report.boxes) {
            for (std::size_t done = 0; done < tensor_bytes; done += kChunkBytes) {
                file.read_at(stored.file_offset + done, {to + done, std::min(kChunkBytes, tensor_bytes - done)});
            }
            to += tensor_bytes;
        }
    };
    compare(state, target.size(), "verified", forget, verified, plain);
}
BENCHMARK(verified_load)
    ->ArgNames({"MiB", "from_disk"})
    ->Args({512, 0})
    ->Args({512, 1})
    ->Iterations(9)
    ->UseManualTime()
    ->Unit(benchmark::kMillisecond);

// What the curve adds to a save, on the coordinator.
void durable_curve(benchmark::State& state) {
    const BenchDirectory directory;
    std::vector<monitoring::CurveRow> rows(static_cast<std::size_t>(state.range(0)));
    for (std::size_t i = 0; i < rows.size(); ++i) rows[i].step = i + 1;
    std::uint64_t bytes = 0;
    for (auto _ : state) {
        bytes = write_curve(directory.path(), rows, rows.size()).bytes;
        state.PauseTiming();
        fs::remove(directory.path() / "curve.h5");
        state.ResumeTiming();
    }
    state.counters["MB"] = static_cast<double>(bytes) / 1e6;
}
BENCHMARK(durable_curve)
    ->ArgName("steps")
    ->Arg(10000)
    ->Arg(1000000)
    ->Iterations(5)
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

void fingerprint_of_a_slice(benchmark::State& state) {
    const Payload payload(64);
    for (auto _ : state) {
        for (const TensorSlice& slice : payload.slices()) benchmark::DoNotOptimize(fingerprint(slice));
    }
    state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(payload.bytes().size()));
}
BENCHMARK(fingerprint_of_a_slice)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace kiban::checkpoint

BENCHMARK_MAIN();
