// SPDX-License-Identifier: Apache-2.0
#include "worker/train/jobs.h"

#include <utility>

#include "data/digest.h"
#include "data/prepare.h"
#include "monitoring/log.h"
#include "worker/preflight/preflight.h"
#include "worker/train/generation.h"
#include "worker/train/trainer.h"

namespace kiban::worker {
namespace {

using coordinator::Finished;
using coordinator::Job;

void check_same_everywhere(const Job& job, const Group& world) {
    const nlohmann::json as_json = coordinator::to_json(coordinator::CoordinatorMessage(job));
    const std::vector<std::string> digests = world.all_gather(data::sha256(as_json.dump()));
    for (std::size_t rank = 0; rank < digests.size(); ++rank) {
        if (digests[rank] == digests[0]) continue;
        throw InternalError("the coordinator gave workers different jobs: digest {} at worker 0, {} at worker {}",
                            digests[0], digests[rank], rank);
    }
}

Job next_job(const Group& world, Control& control) {
    Job job = control.wait_for<Job>("a job");
    check_same_everywhere(job, world);
    return job;
}

Finished train(const Job& first, const Group& world, const Runtime& runtime, checkpoint::BackgroundWriter& writer,
               Control& control) {
    Trainer trainer(first, world, runtime, writer, control);
    Job job = first;
    while (!trainer.start_from(job)) {  // the coordinator answers with an older one
        Job next = next_job(world, control);
        KIBAN_CHECK(
            next.mode == first.mode && next.run_file == first.run_file && next.manifest_digest == first.manifest_digest,
            "the coordinator changed more than the checkpoint after '{}' could not be loaded", job.checkpoint);
        job = std::move(next);
    }
    return trainer.run();
}

// The checkpoint was good when it was chosen; another one would answer another question.
Finished replay(const Job& job, const Group& world, const Runtime& runtime, checkpoint::BackgroundWriter& writer,
                Control& control) {
    Trainer trainer(job, world, runtime, writer, control);
    if (!trainer.start_from(job)) return {};  // the coordinator was told why, and says so
    return trainer.replay(job.options.at("steps").get<std::uint64_t>());
}

Finished prepare(Control& control) {
    control.enter("prepare", 0);
    while (true) {
        control.send(coordinator::TaskRequest{});
        const auto task = control.wait_for<coordinator::Task>("a task");
        if (task.none) return {};
        control.enter("prepare", 0);
        control.send(
            coordinator::TaskDone{.id = task.task.at("id").get<std::uint64_t>(), .result = data::run_task(task.task)});
    }
}

Finished generate(const Job& job, const Group& world, Control& control) {
    control.enter("generate", 0);
    if (world.rank() != 0) return {};
    return {.step = 0, .stopped = false, .output = generate_text(job)};
}

Finished check_nodes(const Job& job, const Group& world, const Runtime& runtime, Control& control) {
    control.enter("preflight", 0);
    return {.step = 0, .stopped = false, .output = preflight(job, world, runtime)};
}

Finished do_job(const Job& job, const Group& world, const Runtime& runtime, checkpoint::BackgroundWriter& writer,
                Control& control) {
    if (job.mode == "train") return train(job, world, runtime, writer, control);
    if (job.mode == "replay") return replay(job, world, runtime, writer, control);
    if (job.mode == "prepare") return prepare(control);
    if (job.mode == "generate") return generate(job, world, control);
    if (job.mode == "preflight") return check_nodes(job, world, runtime, control);
    throw InternalError("cannot do the job '{}': expected train, replay, prepare, generate or preflight", job.mode);
}

}  // namespace

void run_job(const Group& world, const Runtime& runtime, checkpoint::BackgroundWriter& writer, Control& control) {
    const Job job = next_job(world, control);
    const Finished finished = do_job(job, world, runtime, writer, control);
    world.barrier();  // nobody says finished while another may still fail
    control.enter("done", finished.step);
    control.send(finished);
    monitoring::log_info("{}: finished{}", job.mode, finished.stopped ? ", stopped on request" : "");
}

}  // namespace kiban::worker
