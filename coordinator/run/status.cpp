// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/status.h"

#include <cmath>

#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/rewrite.h"

namespace kiban::coordinator {

using nlohmann::json;

NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(WorkerStatus, rank, host, pid, phase, step, resident_bytes,
                                                optimizer_bytes, heartbeat_age_seconds, own_seconds, straggler)
NLOHMANN_DEFINE_TYPE_NON_INTRUSIVE_WITH_DEFAULT(RunStatus, run, run_id, state, message, attempt, restarts, step, steps,
                                                tokens, loss, eval_loss, learning_rate, tokens_per_second, eta_seconds,
                                                tasks_done, tasks_total, prepared_bytes, input_bytes,
                                                prepared_documents, prepared_tokens, prepared_bytes_per_second,
                                                checkpoint, checkpoint_step, checkpoint_queued, checkpoint_queued_step,
                                                phase, curve_events, decision, excluded_hosts, refused_steps, metrics,
                                                wall_time, host, pid, workers)

json to_json(const RunStatus& status) {
    json out;
    to_json(out, status);
    for (auto item = out.begin(); item != out.end();) {  // JSON has no NaN: a number that is not there is left out
        item = item->is_number_float() && !std::isfinite(item->get<double>()) ? out.erase(item) : std::next(item);
    }
    return out;
}

void write_status(const std::filesystem::path& file, const RunStatus& status) {
    const std::string text = to_json(status).dump(2, ' ', false, json::error_handler_t::replace) + "\n";
    monitoring::rewrite(file, text);
}

std::optional<RunStatus> read_status(const std::filesystem::path& file) {
    try {
        return json::parse(monitoring::read_text_if_exists(file).value_or("")).get<RunStatus>();
    } catch (const json::exception&) {
        return std::nullopt;
    }
}

}  // namespace kiban::coordinator
