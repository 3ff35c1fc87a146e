// SPDX-License-Identifier: Apache-2.0
#include "worker/train/initial_state.h"

#include <fmt/format.h>

#include "coordinator/job/version.h"
#include "worker/kernels/gemm_bf16.h"
#include "worker/train/compute_device.h"

namespace kiban::worker {
namespace {

// What besides the number of workers orders the sums. In the fixed order replicas are branches of one tree.
std::string layout_text(const coordinator::RunFile& run_file) {
    const coordinator::ParallelConfig& parallel = run_file.parallel;
    const bool replicas_matter = parallel.replicate > 1 && run_file.train.reduction != "fixed";
    return fmt::format("tensor {}, pipeline {}, context {}, gradients summed each {}{}", parallel.tensor,
                       parallel.pipeline, parallel.context, parallel.zero >= 2 ? "micro-batch" : "step",
                       replicas_matter ? fmt::format(", over {} replicas", parallel.replicate) : "");
}

}  // namespace

checkpoint::RunState initial_state(const coordinator::Job& job, const coordinator::RunFile& run_file,
                                   const data::Manifest& manifest, const Group& world, const Runtime& runtime) {
    checkpoint::RunState state;
    state.seed = run_file.run.seed;
    state.run_file = job.run_file;
    state.data_digest = job.manifest_digest;
    for (const data::ManifestSource& source : manifest.sources) state.sources.push_back(source.id);
    state.tokenizer = run_file.data.tokenizer;
    state.tokenizer_sha256 = manifest.tokenizer_sha256;
    state.sequence_length = run_file.data.sequence_length;
    state.workers = world.size();
    state.threads_per_worker = runtime.threads;
    state.micro_batch_rows = run_file.train.micro_batch_rows;
    state.reduction = run_file.train.reduction;
    state.layout = layout_text(run_file);
    state.precision = run_file.train.precision;
    state.kernels = kernels_here(runtime.kernels);
    if (state.precision == "bf16") state.kernels += ", " + bf16_products();
    state.torch_version = runtime.torch_version;
    state.kiban_version = coordinator::version();
    return state;
}

}  // namespace kiban::worker
