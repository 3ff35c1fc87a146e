// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/upkeep.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <optional>

#include "checkpoint/curve.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

using monitoring::CurveRow;
using monitoring::log_info;
using monitoring::log_warning;

constexpr double kSecondsPerHour = 3600;

double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::filesystem::path scrub_file(const RunDirectory& directory) { return directory.root() / "scrub.json"; }

// Seconds since 1970 at which the run directory was made; now, where that cannot be told.
double beginning_of(const RunDirectory& directory) {
    std::error_code error;
    const auto made = std::filesystem::last_write_time(directory.identity(), error);  // written once
    if (error) return wall_seconds();
    return std::chrono::duration<double>(std::chrono::file_clock::to_sys(made).time_since_epoch()).count();
}

// Until the next pass is due, as the file of the last one has it; the first one an interval after the run began.
double seconds_to_scrub(const RunDirectory& directory, double interval) {
    const auto text = monitoring::read_text_if_exists(scrub_file(directory)).value_or("");
    const auto last = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
    const bool known = last.is_object() && last.contains("ended") && last["ended"].is_number();
    const double since = wall_seconds() - (known ? last["ended"].get<double>() : beginning_of(directory));
    return std::clamp(interval - since, 0.0, interval);
}

// Why the record is of no use for a run that goes on from `step`; empty when it is. IoError when it cannot be read now:
// that may pass, and is no reason to replace it.
std::string fault_of_record(const RunDirectory& directory, std::uint64_t step, bool& damaged) {
    try {
        const auto rows = monitoring::read_curve(directory.curve()).rows;
        if (!rows.empty() && rows.back().step >= step) return "";
        return rows.empty() ? "it holds no step" : fmt::format("it ends at step {}", rows.back().step);
    } catch (const monitoring::CurveDamaged& error) {
        damaged = true;
        return error.what();
    }
}

std::optional<std::vector<CurveRow>> rows_of(const checkpoint::CheckpointInfo& from) {
    try {
        return checkpoint::read_curve_of(from.directory);
    } catch (const CheckpointError& error) {
        log_warning("the curve record cannot be restored from '{}': {}", from.directory.string(), error.what());
        return std::nullopt;
    }
}

}  // namespace

bool healthy_after(std::span<const CurveRow> rows, std::uint64_t step, std::uint64_t count) {
    const auto first = std::ranges::upper_bound(rows, step, {}, &CurveRow::step);
    if (static_cast<std::uint64_t>(rows.end() - first) < count) return false;
    const std::span<const CurveRow> after(first, static_cast<std::size_t>(count));
    if (!after.empty() && after.back().step != step + count) return false;  // a hole
    return std::ranges::all_of(after, [](const CurveRow& row) {
        return monitoring::without_targets(row) || (std::isfinite(row.loss) && std::isfinite(row.grad_norm));
    });
}

CurveRestoration restore_curve(const RunDirectory& directory, const checkpoint::CheckpointInfo& from) {
    if (from.step == 0) return {};
    bool damaged = false;
    const std::string why = fault_of_record(directory, from.step, damaged);
    if (why.empty()) return {};
    const auto rows = rows_of(from);
    if (!rows) {
        if (damaged) throw IoError("{}", why);
        log_warning("the curve record has a hole: {}", why);
        return {.restored = false, .reason = why};
    }
    log_warning("the curve record is restored from '{}': {}", from.directory.string(), why);
    monitoring::replace_curve(directory.curve(), *rows);
    return {.restored = true, .reason = why};
}

std::optional<checkpoint::CheckpointInfo> checkpoint_to_load(const RunDirectory& directory, Board& board) {
    const auto tell = [&board](const checkpoint::CheckpointInfo& rejected, const std::string& reason) {
        board.metrics().checkpoint_rejected("load");
        board.journal.try_add("checkpoint_rejected", {{"checkpoint", rejected.directory.string()}, {"reason", reason}});
    };
    return checkpoint::newest_checkpoint(directory.root(), tell);
}

Upkeep::Upkeep(const RunDirectory& directory, const checkpoint::CheckpointConfig& config, Board& board)
    : directory_(directory),
      config_(config),
      board_(board),
      scrub_({.run_dir = directory.root(),
              .interval_seconds = config.scrub_interval_hours * kSecondsPerHour,
              .bytes_per_second = config.scrub_megabytes_per_second * 1e6,
              .first_after_seconds = seconds_to_scrub(directory, config.scrub_interval_hours * kSecondsPerHour)}) {}

void Upkeep::tick(std::span<const CurveRow> rows) {
    const std::uint64_t step = rows.empty() ? 0 : rows.back().step;
    // Looking costs a read of every kept checkpoint's record: not at each step where hundreds prove one good.
    const std::uint64_t stride = std::max<std::uint64_t>(1, config_.promote_after_steps / 10);
    const bool due = step < seen_step_ || step >= seen_step_ + stride;
    try {
        note_pass();
        reject_rotten();
        if (!due) return;
        seen_step_ = step;
        promote(rows);
    } catch (const IoError& error) {
        log_warning("looking after the checkpoints: {}", error.what());
    }
}

void Upkeep::promote(std::span<const CurveRow> rows) {
    const auto promoted = checkpoint::promoted_checkpoints(directory_.root());
    // Newest first: the older ones than the newest promoted were promoted before it, or never will be needed.
    for (const auto& info : checkpoint::list_checkpoints(directory_.root())) {
        const std::string name = info.directory.filename().string();
        if (std::ranges::find(promoted, name) != promoted.end()) return;
        if (!healthy_after(rows, info.step, config_.promote_after_steps)) continue;
        const auto in_doubt = [&](std::uint64_t step) {
            return step > info.step && step <= info.step + config_.promote_after_steps;
        };
        if (std::ranges::any_of(refused_, in_doubt)) continue;
        checkpoint::promote_checkpoint(directory_.root(), info, config_.promote_after_steps);
        board_.metrics().checkpoint_promoted(info.step);
        board_.journal.add("checkpoint_promoted", {{"checkpoint", name}, {"step", info.step}});
        log_info("checkpoint {} is promoted: {} healthy steps after it", name, config_.promote_after_steps);
        return;
    }
}

// A finding that the disk does not let us deal with now comes again.
void Upkeep::reject_rotten() {
    const std::uint64_t bytes = scrub_.bytes_read();
    board_.metrics().checkpoint_scrubbed(bytes - scrubbed_bytes_);
    scrubbed_bytes_ = bytes;
    std::vector<checkpoint::ScrubFinding> findings = scrub_.take_findings();
    while (!findings.empty()) {
        const auto& [info, fault] = findings.back();
        try {
            checkpoint::reject_checkpoint(directory_.root(), info, fault);
        } catch (const IoError&) {
            for (auto& left : findings) scrub_.put_back(std::move(left));
            throw;
        }
        board_.metrics().checkpoint_rejected("scrub");
        board_.journal.try_add("checkpoint_rejected", {{"checkpoint", info.directory.string()}, {"reason", fault}});
        rejected_ = true;
        findings.pop_back();
    }
}

// So that runs of many short jobs are scrubbed too.
void Upkeep::note_pass() {
    if (scrub_.passes() == passes_) return;
    passes_ = scrub_.passes();
    monitoring::publish(scrub_file(directory_), nlohmann::json{{"format", 1}, {"ended", wall_seconds()}}.dump() + "\n");
}

}  // namespace kiban::coordinator
