// SPDX-License-Identifier: Apache-2.0
#include "worker/train/trainer.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>
#include <utility>

#include "coordinator/job/inventory.h"
#include "coordinator/job/left_out.h"
#include "coordinator/protocol/wire.h"
#include "monitoring/fault.h"
#include "monitoring/log.h"
#include "worker/kernels/reduce.h"
#include "worker/train/compute_device.h"
#include "worker/train/initial_state.h"
#include "worker/train/job_corpus.h"
#include "worker/train/loading.h"
#include "worker/train/memory_limit.h"

namespace kiban::worker {
namespace {

using coordinator::RunFile;
using coordinator::StepReport;
using monitoring::fault_point;
using monitoring::log_info;

ModelSetup setup_of(const RunFile& run_file, const data::Corpus& corpus) {
    return {.model = run_file.model,
            .vocabulary = resolved_vocabulary(run_file.model, corpus.vocabulary()),
            .sequence_length = run_file.data.sequence_length,
            .parallel = run_file.parallel,
            .train = run_file.train};
}

// Before memory is asked for: where it is, and whether this process may hold it.
ModelSetup checked_setup(const RunFile& run_file, const data::Corpus& corpus, const Group& world) {
    ModelSetup setup = setup_of(run_file, corpus);
    compute_on_device_of(run_file.train, world);
    if (!tensors_on_host()) return setup;  // the limits are of the host's memory
    refuse_beyond_limits({.model = setup.model,
                          .vocabulary = setup.vocabulary,
                          .sequence_length = setup.sequence_length,
                          .train = setup.train,
                          .parallel = setup.parallel,
                          .workers = run_file.launch.workers,
                          .threads_per_worker = run_file.launch.threads_per_worker},
                         world.rank());
    return setup;
}

MicroBatches own_micro_batches(const coordinator::TrainConfig& train, const Group& data_group) {
    return micro_batches_of(train.batch_rows, train.micro_batch_rows, data_group.rank(), data_group.size());
}

std::vector<data::RowRange> left_out_of(const coordinator::Job& job) {
    return job.options.contains("left_out") ? coordinator::row_ranges_from_json(job.options.at("left_out"))
                                            : std::vector<data::RowRange>{};
}

std::uint64_t evaluation_rows(const coordinator::TrainConfig& train) {
    return train.eval_micro_batch_rows != 0 ? train.eval_micro_batch_rows : train.micro_batch_rows;
}

// What worker 0 tells the others at each step, in one number: nobody adds to it.
constexpr unsigned kStop = 1, kSaving = 2, kSaveDue = 4, kRecorded = 8;

// Breaks what a batch does, whatever step it is: a poisoned one stays so.
std::string batch_point(std::uint64_t position) { return fmt::format("batch.{}", position); }

bool falls_on(std::uint64_t step, std::uint64_t interval) { return interval != 0 && step % interval == 0; }

}  // namespace

Trainer::Trainer(const coordinator::Job& job, const Group& world, const Runtime& runtime,
                 checkpoint::BackgroundWriter& writer, Control& control)
    : run_file_(coordinator::parse_run_file(job.run_file, {}, "run file of the job")),
      control_(control),
      corpus_(open_corpus(job, run_file_)),
      model_(checked_setup(run_file_, corpus_, world), world),
      mine_(own_micro_batches(run_file_.train, mesh().data)),
      rows_(corpus_, mine_),
      passes_(model_, static_cast<int>(mine_.count), fixed()),
      evaluation_(corpus_, evaluation_rows(run_file_.train), mesh().data, world),
      health_(run_file_.model, mesh()),
      left_out_(left_out_of(job)),
      anomalies_(run_file_.anomaly),
      saver_(run_file_.checkpoint, mesh().world, model_.optimizer(), writer, control),
      state_(initial_state(job, run_file_, corpus_.manifest(), world, runtime)) {
    control_.set_optimizer_bytes(model_.optimizer().optimizer_bytes());
}

bool Trainer::start_from(const coordinator::Job& job) {
    const std::string& checkpoint = job.checkpoint;
    control_.enter("loading", 0);
    state_.mixture = mixture_of_job(job, run_file_);
    corpus_.mix(state_.mixture);
    coordinator::LoadResult result{.checkpoint = checkpoint, .error = "", .exactness = "exact"};
    if (checkpoint.empty()) {
        start_from_initial_weights();
    } else {
        const LoadOutcome loaded = load_checkpoint(checkpoint, state_, mesh().world, model_.optimizer());
        result.error = loaded.error;
        result.exactness = loaded.exactness;
        state_.step = loaded.state.step;
        state_.tokens = loaded.state.tokens;
        state_.position = loaded.state.position;
        const bool same_holdout = loaded.state.data_digest == state_.data_digest;
        state_.best_eval_loss = same_holdout ? loaded.state.best_eval_loss : 0;
        anomalies_ = coordinator::AnomalyWatch::from_json(loaded.state.anomalies, run_file_.anomaly);
    }
    saved_ = !checkpoint.empty() && result.error.empty();
    last_save_ = state_.step;
    if (mesh().world.rank() == 0) control_.send(result);
    if (!result.error.empty()) {
        monitoring::log_warning("cannot start from '{}': {}", checkpoint, result.error);
        return false;
    }
    log_info("starts at step {} of {}, {} parameters here, {}", state_.step, last_step(),
             model_.parameters().elements(), result.exactness);
    return true;
}

void Trainer::start_from_initial_weights() {
    model_.sharding().initialise(run_file_.run.seed);
    model_.optimizer().reset();
    state_.step = state_.tokens = state_.position = 0;
    state_.best_eval_loss = 0;
    anomalies_ = coordinator::AnomalyWatch(run_file_.anomaly);
}

coordinator::Finished Trainer::run() {
    traffic_.take();
    if (!saved_) saved_ = saver_.save_now(state_to_save());  // step 0
    while (!is_last()) {
        if (std::optional<StepReport> report = train_step(state_.step + 1)) {
            report->save_skipped = is_save_due() && last_.saving;
            finish_step(state_.step, *report);
            save();
        } else if (stop_ && !saved_) {
            save();
        }
    }
    const bool complete = state_.step >= last_step();
    if (!saved_) {
        throw IoError(
            "step {} is the last one{} and its checkpoint could not be written: {}; make room and start it again",
            state_.step, complete ? "" : " before the requested stop",
            complete ? "the run is not complete" : "what came after the newest checkpoint is lost");
    }
    control_.enter("done", state_.step);
    return {.step = state_.step, .stopped = !complete, .output = ""};
}

coordinator::Finished Trainer::replay(std::uint64_t steps) {
    traffic_.take();
    const std::uint64_t end = state_.step + steps;
    while (state_.step < end) {
        if (std::optional<StepReport> report = train_step(state_.step + 1)) finish_step(state_.step, *report);
    }
    control_.enter("done", state_.step);
    return {.step = state_.step, .stopped = false, .output = ""};
}

// Nothing where it was refused: then the rows are used up, and nothing else has changed. A step whose rows have no
// target is a step that learns nothing: so every other row keeps its step, whatever is forgotten.
std::optional<StepReport> Trainer::train_step(std::uint64_t step) {
    const double began = coordinator::monotonic_seconds();
    control_.keep_seconds_of("save");  // of the boundary before
    const std::uint64_t position = coordinator::next_position(state_.position, run_file_.train.batch_rows, left_out_);
    if (other_text_begins(position)) anomalies_ = coordinator::AnomalyWatch(run_file_.anomaly);
    const std::uint64_t all_targets = read_rows(step, position);
    const Outcome outcome = all_targets == 0 ? pass_over(step, position) : learn(step, position, all_targets);
    if (all_targets > 0 && refuses(step, position, outcome)) return std::nullopt;
    const double learning_rate =
        coordinator::learning_rate_at(run_file_.train.optimizer, run_file_.train.schedule, step, run_file_.train.steps);
    if (all_targets > 0) update(step, learning_rate, outcome.gradient_norm);
    stop_ = outcome.stop;
    last_ = outcome;
    last_.save_due = std::exchange(save_due_, false) || outcome.save_due;
    saved_ = false;
    state_.step = step;
    record_next(outcome);
    state_.tokens += all_targets;
    state_.position = position + run_file_.train.batch_rows;
    return StepReport{.step = step,
                      .tokens = state_.tokens,
                      .step_tokens = all_targets,
                      .loss = outcome.loss,
                      .learning_rate = learning_rate,
                      .grad_norm = outcome.gradient_norm,
                      .clipped = model_.optimizer().clipping_factor(outcome.gradient_norm) < 1.0,
                      .eval_loss = std::nullopt,
                      .step_seconds = coordinator::monotonic_seconds() - began,
                      .phase_seconds = {},
                      .traffic = {},
                      .save_skipped = false};
}

// Whether the sources are mixed otherwise from the rows of the next batch on: losses of other text are no measure for
// theirs.
bool Trainer::other_text_begins(std::uint64_t position) const {
    return std::ranges::any_of(state_.mixture, [&](const data::MixtureSegment& segment) {
        return segment.first > 0 && segment.first >= state_.position && segment.first <= position;
    });
}

// Forward and backward of all workers; what they found, before any update.
Trainer::Outcome Trainer::learn(std::uint64_t step, std::uint64_t position, std::uint64_t all_targets) {
    const std::vector<double> loss_sums = forward_backward(step, all_targets);
    control_.enter("reduce", step);
    fault_point("step.reduce");
    model_.sharding().reduce_gradients();
    const double loss_sum =
        fixed() ? sum_in_fixed_tree(loss_sums) : std::accumulate(loss_sums.begin(), loss_sums.end(), 0.0);
    return agree_on_outcome(
        step, monitoring::faults_armed() ? monitoring::fault_value(batch_point(position), loss_sum) : loss_sum,
        sum_of_squares(), all_targets);
}

// Every worker has the same count of targets, so all pass it over; a stop or a save still reaches them all here.
Trainer::Outcome Trainer::pass_over(std::uint64_t step, std::uint64_t position) {
    if (mesh().world.rank() == 0) {
        monitoring::log_warning(
            "step {} makes no update: none of its rows {} to {} of the order has a target (data.forget)", step,
            position, position + run_file_.train.batch_rows - 1);
    }
    if (is_evaluated(step)) health_.of_update();  // there is none
    return agree_on_outcome(step, 0.0, 0.0, 0);
}

void Trainer::update(std::uint64_t step, double learning_rate, double gradient_norm) {
    saver_.before_update(step);
    control_.enter("optimizer", step);
    fault_point("step.update");
    model_.optimizer().update(step, learning_rate, gradient_norm, is_evaluated(step) ? health_.of_update() : nullptr);
    control_.enter("reduce", step);
    model_.sharding().publish_values();
}

// The global count of targets is needed before backward: every worker's loss is divided by it.
std::uint64_t Trainer::read_rows(std::uint64_t step, std::uint64_t position) {
    control_.set_position(position);
    control_.enter("data", step);
    fault_point("step.data");
    std::array<std::uint64_t, 1> targets = {rows_.read(position)};
    control_.enter("reduce", step);
    mesh().data.all_reduce_sum(std::span<std::uint64_t>(targets));
    if (monitoring::faults_armed()) fault_point(batch_point(position));
    return targets[0];
}

std::vector<double> Trainer::forward_backward(std::uint64_t step, std::uint64_t all_targets) {
    control_.enter("forward", step);
    fault_point("step.forward");
    model_.sharding().begin_step();
    return passes_.accumulate_gradients([this](std::uint64_t index) { return rows_.micro_batch(index); },
                                        1.0 / static_cast<double>(all_targets),
                                        [this](const char* pass) { control_.begin_pass(pass); });
}

// One small reduction carries loss, squares of the gradients, and what worker 0 alone knows: a stop that has reached
// it, whether a save is under way, whether one is due at an automatic interval or wished for. So all act at the same
// step.
Trainer::Outcome Trainer::agree_on_outcome(std::uint64_t step, double loss_sum, double squares,
                                           std::uint64_t all_targets) {
    const unsigned news = mesh().world.rank() == 0 ? news_of_worker_0(step) : 0;
    std::array<double, 3> sums = {loss_sum, squares, static_cast<double>(news)};
    mesh().world.all_reduce_sum(std::span<double>(sums));
    const auto heard = static_cast<unsigned>(sums[2]);
    return {
        .loss = all_targets > 0 ? sums[0] / static_cast<double>(all_targets) : std::numeric_limits<double>::quiet_NaN(),
        .gradient_norm = std::sqrt(sums[1]),
        .stop = (heard & kStop) != 0,
        .saving = (heard & kSaving) != 0,
        .save_due = (heard & kSaveDue) != 0,
        .recorded = (heard & kRecorded) != 0};
}

unsigned Trainer::news_of_worker_0(std::uint64_t step) {
    const bool stop = control_.stop_requested();  // reads what has come
    const bool saving = saver_.under_way();
    const std::uint64_t interval = run_file_.checkpoint.interval_steps.automatic ? control_.save_interval() : 0;
    const bool due_by_interval = interval != 0 && step - last_save_ >= interval;
    const bool due = !saving && (due_by_interval || control_.save_wished());
    if (due) control_.save_begins();
    return (stop ? kStop : 0) | (saving ? kSaving : 0) | (due ? kSaveDue : 0) |
           (control_.takes_trace_step() ? kRecorded : 0);
}

// The sum over all data workers, on the first of them; zero on the others, which changes no bit of the sum over the
// world.
double Trainer::sum_in_fixed_tree(const std::vector<double>& loss_sums) {
    const Group& data = mesh().data;
    std::vector<double> all(mine_.count * static_cast<std::uint64_t>(data.size()));
    std::copy(loss_sums.begin(), loss_sums.end(), all.begin() + static_cast<std::ptrdiff_t>(mine_.first));
    data.all_reduce_sum(std::span<double>(all));
    return data.rank() == 0 ? tree_sum(all) : 0.0;
}

// Of the gradients; the world's sum of these is their norm's square.
double Trainer::sum_of_squares() {
    if (!fixed()) return model_.optimizer().own_sum_of_squares();
    std::vector<double> blocks = model_.optimizer().block_sums_of_squares();
    mesh().data.all_reduce_sum(std::span<double>(blocks));
    return mesh().data.rank() == 0 ? tree_sum(blocks) : 0.0;
}

void Trainer::finish_step(std::uint64_t step, StepReport& report) {
    std::optional<coordinator::Health> health;
    if (is_evaluated(step)) {
        control_.enter("evaluate", step);
        fault_point("step.evaluate");
        ActivationObserver* observer = health_.of_activations();  // of the first micro-batch
        const auto score = evaluation_.holdout([&](const Batch& batch) {
            control_.note_work();
            return passes_.evaluate(batch, std::exchange(observer, nullptr));
        });
        health = health_.merged(step);
        if (score) {
            const double loss = monitoring::fault_value("evaluate.loss", score->loss);
            if (!std::isfinite(loss)) refuse_weights(step, loss, report);
            report.eval_loss = score->loss;
            report.eval_accuracy = score->accuracy;
            report.eval_targets = score->targets;
            if (state_.best_eval_loss == 0 || score->loss < state_.best_eval_loss) state_.best_eval_loss = score->loss;
        }
    }
    if (mesh().world.rank() != 0) return;
    report.phase_seconds = control_.take_phase_seconds();
    report.traffic = traffic_.take();
    control_.send(report);
    if (health) control_.send(*health);
}

bool Trainer::is_evaluated(std::uint64_t step) const {
    return step == last_step() || falls_on(step, run_file_.train.eval_interval_steps);
}

// The last save is waited for, another only begun; the same on all workers.
void Trainer::save() {
    if (is_last()) {
        saved_ = saver_.save_now(state_to_save());
    } else if (is_save_due() && !last_.saving) {
        saver_.begin(state_to_save());
        last_save_ = state_.step;
    }
}

const checkpoint::RunState& Trainer::state_to_save() {
    state_.anomalies = anomalies_.to_json();
    return state_;
}

bool Trainer::is_save_due() const {
    if (is_last()) return false;
    const checkpoint::StepInterval& interval = run_file_.checkpoint.interval_steps;
    return last_.save_due || (!interval.automatic && falls_on(state_.step, interval.steps));
}

}  // namespace kiban::worker
