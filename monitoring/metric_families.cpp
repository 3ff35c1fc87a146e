// SPDX-License-Identifier: Apache-2.0
#include "monitoring/metric_families.h"

namespace kiban::monitoring {
namespace {

template <typename Builder>
auto& declare(Builder builder, prometheus::Registry& registry, const std::string& run, const char* name,
              const char* help) {
    return builder.Name(name).Help(help).Labels({{"run", run}}).Register(registry);
}

}  // namespace

#define KIBAN_GAUGE(name, help) name(declare(prometheus::BuildGauge(), *registry, run, "kiban_" #name, help))
#define KIBAN_COUNTER(name, help) name(declare(prometheus::BuildCounter(), *registry, run, "kiban_" #name, help))
#define KIBAN_HISTOGRAM(name, help) name(declare(prometheus::BuildHistogram(), *registry, run, "kiban_" #name, help))

MetricFamilies::MetricFamilies(const std::string& run)
    : registry(std::make_shared<prometheus::Registry>()),
      KIBAN_GAUGE(run_info, "Identity of the run, always 1"),
      KIBAN_GAUGE(run_attempt_info, "Current attempt of the run, always 1"),
      KIBAN_GAUGE(build_info, "Build of the coordinator, always 1"),
      KIBAN_GAUGE(run_state, "1 for the state that the run is in, 0 for the others"),
      KIBAN_GAUGE(train_step, "Completed updates of the surviving history"),
      KIBAN_GAUGE(train_step_high_water, "Highest step that any attempt of the run has completed"),
      KIBAN_GAUGE(train_last_step_timestamp_seconds, "Wall time of the last completed step, since 1970"),
      KIBAN_GAUGE(train_target_steps, "Updates after which the run is done"),
      KIBAN_GAUGE(train_tokens_seen, "Target tokens trained in the surviving history"),
      KIBAN_GAUGE(train_chinchilla_ratio, "Tokens seen divided by 20 times the model's total parameters"),
      KIBAN_GAUGE(train_epoch_ratio, "Tokens seen divided by the tokens of one pass over the corpus"),
      KIBAN_GAUGE(model_parameters, "Parameters of the model"),
      KIBAN_COUNTER(train_loss_nats_total, "Loss summed over the target tokens trained by this process"),
      KIBAN_COUNTER(train_loss_tokens_total, "Target tokens over which kiban_train_loss_nats_total was summed"),
      KIBAN_GAUGE(train_loss_nats, "Mean loss per target token of the last step, before its update"),
      KIBAN_GAUGE(train_loss_max_nats, "Largest loss of the last 100 steps"),
      KIBAN_GAUGE(eval_loss_nats, "Mean loss per token of the last evaluation"),
      KIBAN_GAUGE(eval_loss_nats_per_byte, "Loss of the last evaluation per byte of text"),
      KIBAN_GAUGE(eval_accuracy_ratio, "Share of the last evaluation's tokens that the model would have said first"),
      KIBAN_GAUGE(eval_step, "Step after which the last evaluation ran"),
      KIBAN_GAUGE(eval_timestamp_seconds, "Wall time of the last evaluation, since 1970"),
      KIBAN_GAUGE(learning_rate, "Learning rate of the last step"),
      KIBAN_GAUGE(grad_norm, "Global gradient norm of the last step, before clipping"),
      KIBAN_GAUGE(grad_norm_max, "Largest global gradient norm of the last 100 steps"),
      KIBAN_COUNTER(grad_clip_total, "Steps whose gradient was clipped"),
      KIBAN_COUNTER(nonfinite_steps_total, "Steps whose loss or gradient norm was not finite"),
      KIBAN_GAUGE(health_step, "Step after which the health of the network was looked at last"),
      KIBAN_GAUGE(param_norm, "L2 norm of the parameters of a group of tensors, after the update of that step"),
      KIBAN_GAUGE(update_norm, "L2 norm of the change that the update of that step made in a group of tensors"),
      KIBAN_GAUGE(update_to_param_ratio, "kiban_update_norm over kiban_param_norm"),
      KIBAN_GAUGE(adam_second_moment_norm, "L2 norm of Adam's second moments, after the update of that step"),
      KIBAN_GAUGE(activation_rms, "Root mean square of a layer's output on the first held-out rows"),
      KIBAN_GAUGE(activation_max, "Largest magnitude in a layer's output on the first held-out rows"),
      KIBAN_GAUGE(activation_kurtosis, "Kurtosis of a layer's output on the first held-out rows; 3 for a normal one"),
      KIBAN_GAUGE(hidden_cosine_mean, "Mean cosine between a layer's outputs for two held-out tokens"),
      KIBAN_GAUGE(attention_entropy_nats, "Mean entropy of the attention of a sampled query, over a layer's heads"),
      KIBAN_GAUGE(attention_logit_max, "Largest score before the softmax of sampled queries, over a layer's heads"),
      KIBAN_GAUGE(output_logit_max, "Largest magnitude of a logit of sampled held-out tokens"),
      KIBAN_GAUGE(embedding_effective_rank, "Exponential of the entropy of the embedding's singular values, sampled"),
      KIBAN_GAUGE(embedding_isotropy_ratio, "Least over largest partition function of the embedding, sampled"),
      KIBAN_GAUGE(embedding_uniformity, "Log of the mean Gaussian potential of pairs of embeddings, sampled"),
      KIBAN_COUNTER(curve_events_total, "Events found on the learning curve by this process, each once"),
      KIBAN_GAUGE(curve_last_event_step, "Step of the last event of the kind in the surviving history"),
      KIBAN_GAUGE(curve_phase, "1 for the phase that the learning curve is in, 0 for the others; never a verdict"),
      KIBAN_GAUGE(curve_slope_nats_per_doubling, "Robust slope of the loss per doubling of tokens, last half doubling"),
      KIBAN_GAUGE(curve_plateau_tokens, "Target tokens since the present plateau began, 0 when there is none"),
      KIBAN_GAUGE(grok_delay_ratio, "Step at which the holdout was understood over that at which training was known"),
      KIBAN_GAUGE(spike_score_ratio, "Share of all steps whose loss was a spike"),
      KIBAN_COUNTER(steps_total, "Steps done by this process, repeated ones included"),
      KIBAN_COUNTER(tokens_total, "Target tokens trained by this process, repeated ones included"),
      KIBAN_COUNTER(model_flops_total, "Floating-point operations of the model's forward and backward passes"),
      KIBAN_GAUGE(peak_flops_per_second, "Floating-point operations that the machine could do in a second, as told"),
      KIBAN_HISTOGRAM(step_duration_seconds, "Wall time of a step"),
      KIBAN_GAUGE(step_duration_max_seconds, "Longest step of the last 100"),
      KIBAN_COUNTER(phase_seconds_total, "Wall time of worker 0 by phase of the step"),
      KIBAN_COUNTER(comm_operations_total, "Communication calls of worker 0, by axis of the mesh and operation"),
      KIBAN_COUNTER(comm_bytes_total, "Bytes that worker 0 had to send (receive: received), by axis and operation"),
      KIBAN_COUNTER(comm_seconds_total, "Time of worker 0 inside communication calls, waiting for peers included"),
      KIBAN_COUNTER(prepared_units_total, "Work units of corpora that were made into token shards"),
      KIBAN_COUNTER(prepared_bytes_total, "Bytes of corpora read while preparing"),
      KIBAN_COUNTER(prepared_documents_total, "Documents read while preparing"),
      KIBAN_COUNTER(prepared_tokens_total, "Tokens written while preparing"),
      KIBAN_GAUGE(corpus_dropped_documents, "Documents of the corpus that were not made into tokens, by reason"),
      KIBAN_GAUGE(corpus_redacted_values, "Personal data that was taken out of the corpus, by kind"),
      KIBAN_HISTOGRAM(checkpoint_duration_seconds, "Time from the decision to save until the checkpoint was committed"),
      KIBAN_GAUGE(checkpoint_bytes, "Size of the last committed checkpoint"),
      KIBAN_GAUGE(checkpoint_last_step, "Step of the last committed checkpoint"),
      KIBAN_GAUGE(checkpoint_last_success_timestamp_seconds, "Wall time of the last commit, since 1970"),
      KIBAN_GAUGE(checkpoint_queued_step, "Step of the checkpoint asked for last, durable or not"),
      KIBAN_GAUGE(checkpoint_in_flight, "1 while a checkpoint is asked for and neither committed nor failed, else 0"),
      KIBAN_GAUGE(checkpoint_interval_steps,
                  "Steps between checkpoints, as set or as chosen for an automatic interval"),
      KIBAN_COUNTER(checkpoint_written_bytes_total, "Bytes of the checkpoints committed by this process"),
      KIBAN_COUNTER(checkpoint_write_seconds_total, "Time that the slowest worker wrote, of each committed checkpoint"),
      KIBAN_COUNTER(checkpoint_stall_seconds_total, "Time that training of worker 0 stood still for checkpoints"),
      KIBAN_COUNTER(checkpoint_skipped_total, "Checkpoints that were due while another was under way"),
      KIBAN_COUNTER(checkpoint_failures_total, "Checkpoints that were begun and not committed"),
      KIBAN_COUNTER(checkpoint_rejects_total, "Committed checkpoints that were found damaged and rejected"),
      KIBAN_GAUGE(checkpoint_promoted_step, "Step of the checkpoint that was proven good last"),
      KIBAN_COUNTER(checkpoint_scrubbed_bytes_total, "Bytes of kept checkpoints that were read again"),
      KIBAN_COUNTER(restarts_total, "Times that the workers were started again"),
      KIBAN_COUNTER(rollback_steps_total, "Steps that were lost to restarts and had to be done again"),
      KIBAN_COUNTER(rollback_tokens_total, "Target tokens of the steps that were lost to restarts"),
      KIBAN_COUNTER(decisions_total, "Decisions after the end of an attempt, by the rule that made them"),
      KIBAN_COUNTER(hangs_total, "Times that no worker made progress any more, by the phase of the suspect"),
      KIBAN_COUNTER(anomalies_total, "Steps that all workers refused before their update, by what was wrong"),
      KIBAN_COUNTER(anomaly_rollbacks_total, "Times that refused steps led back to an earlier checkpoint"),
      KIBAN_COUNTER(left_out_rows_total,
                    "Rows of the sample order that were left out: refused, rolled back, quarantined"),
      KIBAN_GAUGE(excluded_hosts, "Hosts that the workers are started without"),
      KIBAN_GAUGE(worker_up, "1 while the worker is heard from, 0 when it is lost or gone"),
      KIBAN_GAUGE(worker_heartbeat_age_seconds, "Time since the worker's last heartbeat"),
      KIBAN_GAUGE(worker_step, "Step that the worker said it works on in its last heartbeat"),
      KIBAN_GAUGE(worker_busy_seconds, "Own time of the worker in a step, reading rows and in its passes, lately"),
      KIBAN_GAUGE(worker_straggler, "1 while the worker's own time is far above the others', else 0"),
      KIBAN_COUNTER(worker_phase_seconds_total, "Wall time of each worker by phase, start and end included"),
      KIBAN_GAUGE(memory_resident_bytes, "Resident memory of the worker"),
      KIBAN_GAUGE(memory_optimizer_bytes, "Optimizer state that the worker holds") {}

#undef KIBAN_GAUGE
#undef KIBAN_COUNTER
#undef KIBAN_HISTOGRAM

void RankGauges::set(int rank, double value) {
    prometheus::Gauge*& gauge = gauges_[rank];
    if (gauge == nullptr) gauge = &family_.Add({{"rank", std::to_string(rank)}});
    gauge->Set(value);
}

void RankGauges::set_all(double value) {
    for (const auto& [rank, gauge] : gauges_) gauge->Set(value);
}

void RankGauges::clear() {
    for (const auto& [rank, gauge] : gauges_) family_.Remove(gauge);
    gauges_.clear();
}

void RankPhaseCounters::reached(int rank, const std::string& phase, double seconds) {
    Cell& cell = cells_[{rank, phase}];
    if (cell.counter == nullptr) cell.counter = &family_.Add({{"rank", std::to_string(rank)}, {"phase", phase}});
    if (!(seconds > cell.reached)) return;
    cell.counter->Increment(seconds - cell.reached);
    cell.reached = seconds;
}

void RankPhaseCounters::other_processes() {
    for (auto& [key, cell] : cells_) cell.reached = 0;
}

prometheus::Counter& BoundedCounters::of(const std::string& value) {
    const auto found = counters_.find(value);
    if (found != counters_.end()) return *found->second;
    if (counters_.size() >= kMaxValues) return family_.Add({{label_, "other"}});
    prometheus::Counter& counter = family_.Add({{label_, value}});
    counters_.emplace(value, &counter);
    return counter;
}

}  // namespace kiban::monitoring
