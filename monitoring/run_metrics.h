// SPDX-License-Identifier: Apache-2.0
// Events of a run in, Prometheus metrics out (families and labels: monitoring/METRICS.md). Used by the coordinator
// only.
//
// Counters start at zero with the process; position is a gauge (Prometheus' rules; `promtool check metrics` clean).
// A scrape sees a step whole or not at all: step, loss and counters of one scrape belong together.
// Thread-safe: prometheus-cpp's metrics are atomics. Label `run` on every series, `rank` where marked.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "monitoring/curve.h"

namespace prometheus {
class Collectable;
}

namespace kiban::monitoring {

namespace detect {
struct CurveState;
struct Event;
}  // namespace detect

struct RunIdentity {
    std::string run;
    std::string model;  // such as "gpt2 4x128"
    std::string config_hash;
    std::string data_hash;
    std::string version;
    std::uint64_t seed = 0;
    std::uint64_t parameters_total = 0;
    std::uint64_t parameters_non_embedding = 0;
    std::uint64_t target_steps = 0;
    double flops_per_token = 0;          // forward and backward
    double peak_flops = 0;               // a second, of all workers together; 0: not known
    std::uint64_t train_tokens = 0;      // of the corpus, one pass; 0: not known yet
    double holdout_bytes_per_token = 0;  // of text; 0: not known yet
};

/// What worker 0 exchanged along an axis of the mesh: calls, and what they came to.
struct Communication {
    std::string axis;       // world, data, tensor, pipeline, context, tied; anything else counts as "other"
    std::string operation;  // reduce_scatter, all_gather, all_reduce, broadcast, send, receive; likewise
    std::uint64_t calls = 0;
    std::uint64_t bytes = 0;
    double seconds = 0;
};

/// The cause of an attempt's end that says that a step's loss or gradient was not finite.
constexpr const char* kNonFiniteCause = "non_finite";

struct ModelHealth;

class RunMetrics {
  public:
    explicit RunMetrics(const RunIdentity& identity);
    ~RunMetrics();
    RunMetrics(const RunMetrics&) = delete;
    RunMetrics& operator=(const RunMetrics&) = delete;

    /// More is known of the same run (its corpus is there): all series stay. `run` may not change.
    void set_target_steps(std::uint64_t steps);
    void set_identity(const RunIdentity& identity);
    /// One of preparing, starting, training, saving, restarting, done, failed.
    void set_state(const std::string& state);
    /// Forgets the ranks of the attempt before.
    void attempt_started(std::uint32_t attempt, const std::string& slurm_job_id);
    /// The attempt goes on after `step`: what is shown is the record of that step, as if it had just been done, and the
    /// high-water mark is the record's. Counters stay. `checkpoint`: it goes on from one, which is durable.
    void resumed(const Curve& record, std::uint64_t step, bool checkpoint);
    /// One step by worker 0. `step_tokens` target tokens of this step; phase seconds keyed data, forward,
    /// backward, reduce, optimizer, evaluate, save.
    void step(const CurveRow& row, std::uint64_t step_tokens, bool clipped,
              const std::map<std::string, double>& phase_seconds);
    /// Of the network after `step`, in place of what was said before; a resume forgets it.
    void health(std::uint64_t step, const ModelHealth& health);
    /// What the detectors make of the curve up to its last row.
    void curve_state(const detect::CurveState& state);
    /// An event that was not told before, by this process or another.
    void curve_event(const detect::Event& event);
    /// An event found again after a rollback, told before: not counted.
    void curve_event_again(const detect::Event& event);
    /// All events of the surviving history, oldest first: whatever else was said of last steps no longer holds.
    void curve_history(const std::vector<detect::Event>& events);
    /// Adds to the counters by axis and operation.
    void communicated(const Communication& part);
    void prepared_unit(std::uint64_t bytes, std::uint64_t documents, std::uint64_t tokens);
    /// A checkpoint is asked for: from now until checkpoint_ended() one is under way.
    void checkpoint_queued(std::uint64_t step);
    void checkpoint_ended();
    void checkpoint_committed(std::uint64_t step, std::uint64_t bytes, double seconds);
    /// Of a committed one: bytes of all files, seconds of its slowest writer.
    void checkpoint_written(std::uint64_t bytes, double seconds);
    void checkpoint_stalled(double seconds);
    void checkpoint_skipped();
    /// Steps between checkpoints, as set or as chosen for an automatic interval.
    void checkpoint_interval(std::uint64_t steps);
    /// A cause is a word of a small set (signal, exit, heartbeat, ...), never a message: after 15 of them come
    /// "other"s.
    void checkpoint_failed(const std::string& cause);
    /// How it was found: load, scrub.
    void checkpoint_rejected(const std::string& cause);
    void checkpoint_promoted(std::uint64_t step);
    void checkpoint_scrubbed(std::uint64_t bytes);
    void restarted(const std::string& cause, std::uint64_t rolled_back_steps, std::uint64_t rolled_back_tokens);
    /// After an attempt has ended; `rule` is a word of a small set, as a cause is.
    void decided(const std::string& rule);
    /// No worker moved any more, and the suspect was in this phase.
    void hang(const std::string& phase);
    /// A step that all workers refused: non_finite, loss_spike or norm_spike. It has no row.
    void anomaly(const std::string& kind);
    void rolled_back();
    void rows_left_out(std::uint64_t rows);
    void hosts_excluded(std::size_t hosts);
    void worker_up(int rank, bool up);
    /// Own seconds in a step, lately, and whether they are far above the others'.
    void worker_busy(int rank, double seconds, bool straggler);
    /// No worker of this attempt is there any more.
    void workers_gone();
    void worker_heartbeat_age(int rank, double seconds);
    void worker_step(int rank, std::uint64_t step);
    void worker_memory(int rank, std::uint64_t resident_bytes, std::uint64_t optimizer_bytes);
    /// By phase, since the worker's process began.
    void worker_seconds(int rank, const std::map<std::string, double>& phase_seconds);
    /// Of the corpus that is trained on: documents that were dropped by reason, values that were taken out by kind.
    void corpus_cleaned(const std::map<std::string, std::uint64_t>& dropped,
                        const std::map<std::string, std::uint64_t>& redacted);

    /// Prometheus text format 0.0.4, as served.
    std::string text() const;
    std::vector<std::shared_ptr<prometheus::Collectable>> collectables() const;

  private:
    struct Impl;
    class Snapshot;

    std::unique_ptr<Impl> impl_;
    std::shared_ptr<Snapshot> snapshot_;
};

/// Serves /metrics. Listens at once; ConfigError naming the address when it cannot (port in use, not an address).
class MetricsServer {
  public:
    MetricsServer(const RunMetrics& metrics, const std::string& listen);  // "127.0.0.1:9464"; port 0 picks a free one
    /// `option`: what a person sets to listen elsewhere.
    MetricsServer(const std::vector<std::shared_ptr<prometheus::Collectable>>& collectables, const std::string& listen,
                  const char* option);
    ~MetricsServer();
    int port() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::monitoring
