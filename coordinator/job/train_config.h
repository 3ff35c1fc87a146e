// SPDX-License-Identifier: Apache-2.0
// Sections [train], [parallel] and [launch] of the run file.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace kiban::coordinator {

struct OptimizerConfig {
    // adamw: Loshchilov and Hutter 2019 (decoupled decay), bias-corrected. muon: Jordan et al. 2024 for the matrices of
    // the blocks (muon_updates, inventory.h), with the decay and scale of Liu et al. 2025; AdamW for all others.
    std::string name = "adamw";
    double learning_rate = 1e-3;  // peak
    std::array<double, 2> betas = {0.9, 0.95};
    double epsilon = 1e-8;
    double muon_momentum = 0.95;
    double weight_decay = 0.1;  // on matrices (2-D tensors, embeddings included); never on biases and norm gains
};

enum class ScheduleName {
    cosine,    // Loshchilov and Hutter 2017, as nanoGPT computes it
    wsd,       // warm-up, stable, decay (Hu et al. 2024, MiniCPM)
    linear,    // from the peak straight to the end
    constant,  // the peak, after the warm-up
};
enum class DecayShape {
    linear,
    sqrt,  // 1 - sqrt(part of the decay done), which ends lower (Haegele et al. 2024)
};

struct ScheduleConfig {
    ScheduleName name = ScheduleName::cosine;
    std::uint64_t warmup_steps = 100;
    std::uint64_t decay_steps = 0;          // wsd: length of the decay at the end; 0: a tenth of the steps, at least 1
    DecayShape decay = DecayShape::linear;  // wsd
    double final_ratio = 0.1;               // last learning rate over the peak
};

enum class ActivationCheckpointing {
    none,
    selective,  // the second half of a block, norm and feed-forward, keeps its input alone and is run again
    full,       // so does every block
};

struct TrainConfig {
    std::uint64_t batch_rows = 32;       // global batch of one step, in sequences
    std::uint64_t micro_batch_rows = 0;  // of one forward and backward pass of one worker; 0: batch_rows / workers
    std::uint64_t steps = 1000;
    std::uint64_t eval_interval_steps =
        250;  // holdout evaluation each so many steps and at the end; 0: only at the end
    std::uint64_t eval_micro_batch_rows = 0;  // fixed shape of evaluation batches; 0: as micro_batch_rows
    double clip_norm = 1.0;                   // global gradient norm; 0: no clipping
    double z_loss = 0;                        // times logsumexp^2 of each target, in the gradients alone; 0: none
    std::string reduction = "fast";           // fast | fixed: the same bits for 1, 2, 4, 8 data-parallel workers
    std::string precision = "fp32";           // fp32 | bf16: operands of the products with matrices
    std::string device = "cpu";               // cpu | cuda, the LibTorch that the worker is built with permitting
    std::string kernels = "auto";             // auto (native on the cpu, aten on cuda) | native | aten
    ActivationCheckpointing activation_checkpointing = ActivationCheckpointing::none;
    OptimizerConfig optimizer;
    ScheduleConfig schedule;
};

struct ParallelConfig {  // the data-parallel degree is what remains of the workers
    int zero = 1;        // ZeRO stage (Rajbhandari et al. 2020): 0 to 3
    int tensor = 1;      // workers that share out each layer, and its tokens
    int pipeline = 1;    // stages
    int context = 1;     // 1 now
    int replicate = 1;   // replicas of the model's shards: the data-parallel workers are so many times the shards
};

struct LaunchConfig {
    int workers = 1;
    int threads_per_worker = 0;                    // 0: default_threads() (coordinator/job/cpus.h)
    bool threads_derived = false;                  // no key: threads_per_worker was 0, and is this machine's or job's
    std::string launcher = "auto";                 // auto (srun inside a Slurm allocation, else mpirun) | mpirun | srun
    std::uint32_t max_restarts = 10;               // without a newer checkpoint in between
    std::uint32_t start_timeout_seconds = 120;     // until every worker has said hello
    std::uint32_t heartbeat_timeout_seconds = 30;  // silence after which a worker counts as lost
    std::uint32_t time_limit_minutes = 0;  // after which this start saves and leaves; 0: none but its Slurm job's
    std::string control_interface =
        "127.0.0.1";  // address the control channel binds; several nodes need one they can reach
};

/// Steps of wsd's decay in a run of `steps`: decay_steps, where it is 0 a tenth of the run, at least 1. Pure.
std::uint64_t resolved_decay_steps(const ScheduleConfig& schedule, std::uint64_t steps);

/// Learning rate of step `step`, the update that completes it, 1 to `steps`. Pure. With i = step - 1, peak P, W warm-up
/// steps, N steps and r = final_ratio: P (i+1)/(W+1) while i < W, then P (r + (1-r) c) with c = (1 + cos(pi x))/2
/// (cosine), 1 - x (linear), x = (i-W)/(N-W); wsd: c = 1 until i = N - decay_steps, then 1 - x or 1 - sqrt(x), x =
/// (i-N+decay_steps)/decay_steps; constant: c = 1.
double learning_rate_at(const OptimizerConfig& optimizer, const ScheduleConfig& schedule, std::uint64_t step,
                        std::uint64_t steps);

}  // namespace kiban::coordinator
