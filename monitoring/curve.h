// SPDX-License-Identifier: Apache-2.0
// The run's own learning-curve record: append-only, every step, CRC-framed (format: monitoring/FORMAT.md). The source
// of truth for curves; Prometheus, CSV and reports are made from it.
//
// Step s means s completed updates: its row holds the loss before update s. An attempt that resumes at step c
// supersedes every earlier row after c, so the surviving history holds each step once. Written by the coordinator
// alone; one thread.
#pragma once

#include <cmath>
#include <cstdint>
#include <filesystem>
#include <iosfwd>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "monitoring/error.h"
namespace kiban::monitoring {

/// The bytes of a curve record are not what was written; an IoError of another kind may pass.
class CurveDamaged : public IoError {
  public:
    using IoError::IoError;
};

struct CurveRow {
    std::uint64_t step = 0;    // from 1
    std::uint64_t tokens = 0;  // target tokens trained, this step included
    double loss = 0;           // nats per target token, training batch, before the update; NaN: the batch had no target
    double learning_rate = 0;
    double grad_norm = 0;  // global, before clipping
    /// Nats per token on the holdout after this step; NaN: not evaluated.
    double eval_loss = std::numeric_limits<double>::quiet_NaN();
    /// Share of the holdout's tokens that the model would have said first; NaN: not evaluated, or not known.
    double eval_accuracy = std::numeric_limits<double>::quiet_NaN();
    std::uint64_t eval_targets = 0;  // tokens that it is a share of
    // What follows depends on the machine, not on training: never in the default CSV.
    double step_seconds = 0;
    double wall_time = 0;  // seconds since 1970
    std::uint32_t attempt = 0;
};

/// A step whose rows had no target (all of their documents are forgotten) made no update; what cannot be judged has no
/// row, so a loss that is not a number says nothing else.
inline bool without_targets(const CurveRow& row) { return std::isnan(row.loss) && row.grad_norm == 0; }
/// The gradient norm; NaN where none was measured.
inline double measured_norm(const CurveRow& row) {
    return without_targets(row) ? std::numeric_limits<double>::quiet_NaN() : row.grad_norm;
}

class CurveWriter {
  public:
    /// Opens `directory`/curve.log, making both when missing. What a crash tore off after the last sync() is cut;
    /// damage in what had been durable is an IoError naming the offset.
    explicit CurveWriter(const std::filesystem::path& directory);
    ~CurveWriter();
    CurveWriter(CurveWriter&&) noexcept;
    CurveWriter& operator=(CurveWriter&&) noexcept;

    /// An attempt begins at `from_step`: rows of later steps written before are superseded. Durable on return.
    void begin_attempt(std::uint32_t attempt, std::uint64_t from_step);
    /// Steps ascend within an attempt. An append that fails leaves the record as it was.
    void append(const CurveRow& row);
    /// Everything appended so far is durable on return; the coordinator calls it before it publishes a checkpoint.
    void sync();
    /// The surviving history so far, steps ascending: 88 bytes a step in memory.
    const std::vector<CurveRow>& rows() const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

/// Replaces the record, whatever it holds, by one with these rows (ascending), all or nothing and durable. A record
/// that was there is kept beside it as curve.log.replaced.
void replace_curve(const std::filesystem::path& directory, const std::vector<CurveRow>& rows);

struct Curve {
    std::vector<CurveRow> rows;         // surviving history, steps ascending, each once
    std::uint64_t superseded_rows = 0;  // work that was repeated after a rollback
    std::uint64_t highest_step = 0;     // that any attempt reached, its rows superseded or not
};

/// Reads a record that may still be being written. Missing file: empty curve. Damage in what a sync() had made durable:
/// IoError naming the offset.
Curve read_curve(const std::filesystem::path& directory);

/// A header line, then one line per row; doubles in the shortest form that reads back to the same bits, empty for no
/// evaluation. Columns: step,tokens,loss,learning_rate,grad_norm,eval_loss,eval_accuracy; with_timing adds
/// step_seconds,wall_time,attempt.
void write_csv(std::ostream& out, const std::vector<CurveRow>& rows, bool with_timing);

/// OpenMetrics text on a virtual time axis (one step = one second from 2000-01-01, so that runs overlay), label run and
/// axis="step".
void write_openmetrics(std::ostream& out, const std::vector<CurveRow>& rows, const std::string& run);

}  // namespace kiban::monitoring
