// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/state.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "checkpoint/imported.h"
#include "checkpoint/json_fields.h"
#include "monitoring/error.h"

namespace kiban::checkpoint {
namespace {

constexpr const char* kWhere = "run state";

template <typename Value>
void check_same(const char* what, const Value& saved, const Value& now) {
    if (saved == now) return;
    throw ConfigError("cannot resume: the checkpoint has {} '{}', this run has '{}'; restore it, or start a new run",
                      what, saved, now);
}

std::vector<std::string> sources_from(const JsonFields& fields) {
    std::vector<std::string> sources;
    for (const nlohmann::json& id : fields.array("sources")) {
        if (!id.is_string())
            throw CheckpointError("cannot read {}.sources: expected strings, found {}", kWhere, id.dump());
        sources.push_back(id.get<std::string>());
    }
    return sources;
}

std::vector<data::MixtureSegment> mixture_from(const nlohmann::json& json) {
    try {
        return data::mixture_from_json(json);
    } catch (const ConfigError& error) {
        throw CheckpointError("cannot read {}.mixture: {}", kWhere, error.what());
    }
}

// The part of a mixture that rows before `position` came by.
std::vector<data::MixtureSegment> mixture_before(std::vector<data::MixtureSegment> mixture, std::uint64_t position) {
    std::erase_if(mixture, [position](const data::MixtureSegment& segment) { return segment.first >= position; });
    return mixture;
}

void check_same_order(const RunState& saved, const RunState& now) {
    const auto before = mixture_before(saved.mixture, saved.position);
    if (saved.mixture.empty() || before == mixture_before(now.mixture, saved.position)) return;
    throw ConfigError(
        "cannot resume: the checkpoint's rows up to {} came by the mixture {}, this run says {}; restore it, or start "
        "a "
        "new run",
        saved.position, data::to_json(before).dump(), data::to_json(now.mixture).dump());
}

// What judges steps reads the rest itself (coordinator/job/anomaly.h).
nlohmann::json anomalies_from(const nlohmann::json& json) {
    if (json.is_null() || json.is_object()) return json;
    throw CheckpointError("cannot read {}.anomalies: expected an object or null, found {}", kWhere, json.type_name());
}

}  // namespace

nlohmann::json to_json(const RunState& state) {
    if (!std::isfinite(state.best_eval_loss)) {
        throw CheckpointError("cannot store {}.best_eval_loss: expected a finite number, found {}", kWhere,
                              state.best_eval_loss);
    }
    return {{"step", state.step},
            {"tokens", state.tokens},
            {"position", state.position},
            {"seed", state.seed},
            {"run_file", state.run_file},
            {"data_digest", state.data_digest},
            {"sources", state.sources},
            {"mixture", data::to_json(state.mixture)},
            {"tokenizer", state.tokenizer},
            {"tokenizer_sha256", state.tokenizer_sha256},
            {"sequence_length", state.sequence_length},
            {"order_version", state.order_version},
            {"randomness", state.randomness},
            {"best_eval_loss", state.best_eval_loss},
            {"anomalies", state.anomalies},
            {"workers", state.workers},
            {"threads_per_worker", state.threads_per_worker},
            {"micro_batch_rows", state.micro_batch_rows},
            {"reduction", state.reduction},
            {"layout", state.layout},
            {"precision", state.precision},
            {"kernels", state.kernels},
            {"torch_version", state.torch_version},
            {"kiban_version", state.kiban_version}};
}

RunState run_state_from_json(const nlohmann::json& json) {
    constexpr auto kMostInt = static_cast<std::uint64_t>(std::numeric_limits<int>::max());
    const JsonFields fields(json, kWhere);
    RunState state;
    state.step = fields.number("step");
    state.tokens = fields.number("tokens");
    state.position = fields.number("position");
    state.seed = fields.number("seed");
    state.run_file = fields.text("run_file");
    state.data_digest = fields.text("data_digest");
    if (json.contains("sources")) state.sources = sources_from(fields);
    if (json.contains("mixture")) state.mixture = mixture_from(json.at("mixture"));
    state.tokenizer = fields.text("tokenizer");
    if (json.contains("tokenizer_sha256")) state.tokenizer_sha256 = fields.text("tokenizer_sha256");  // older: bytes
    state.sequence_length =
        static_cast<std::uint32_t>(fields.number("sequence_length", std::numeric_limits<std::uint32_t>::max()));
    state.order_version = fields.text("order_version");
    state.randomness = fields.text("randomness");
    state.best_eval_loss = fields.real("best_eval_loss");
    if (json.contains("anomalies")) state.anomalies = anomalies_from(json.at("anomalies"));
    state.workers = static_cast<int>(fields.number("workers", kMostInt));
    state.threads_per_worker = static_cast<int>(fields.number("threads_per_worker", kMostInt));
    state.micro_batch_rows = fields.number("micro_batch_rows");
    state.reduction = fields.text("reduction");
    if (json.contains("layout")) state.layout = fields.text("layout");  // older checkpoints had no other
    if (json.contains("precision")) state.precision = fields.text("precision");
    state.kernels = fields.text("kernels");
    state.torch_version = fields.text("torch_version");
    state.kiban_version = fields.text("kiban_version");
    return state;
}

bool goes_on_with(const RunState& saved, const std::string& data_digest, const std::vector<std::string>& sources) {
    if (saved.data_digest == data_digest) return true;
    return !saved.sources.empty() && saved.sources.size() <= sources.size() &&
           std::equal(saved.sources.begin(), saved.sources.end(), sources.begin());
}

void check_resumable(const RunState& saved, const RunState& now) {
    check_same("data.tokenizer", saved.tokenizer, now.tokenizer);
    check_same("tokenizer digest", saved.tokenizer_sha256, now.tokenizer_sha256);
    if (is_unbound(saved)) return;
    check_same("run.seed", saved.seed, now.seed);
    if (!goes_on_with(saved, now.data_digest, now.sources))
        check_same("corpus digest", saved.data_digest, now.data_digest);
    check_same_order(saved, now);
    check_same("data.sequence_length", saved.sequence_length, now.sequence_length);
    check_same("order version", saved.order_version, now.order_version);
    check_same("randomness version", saved.randomness, now.randomness);
}

ExactnessResult compare_world(const RunState& saved, const RunState& now) {
    if (is_import(saved)) return {};
    std::string reason;
    const auto compare = [&](const char* what, const auto& before, const auto& after) {
        if (before == after) return;
        reason += fmt::format("{}{} was {}, is {}", reason.empty() ? "" : "; ", what, before, after);
    };
    const bool fixed_order = saved.reduction == "fixed" && now.reduction == "fixed";
    if (!fixed_order) compare("workers", saved.workers, now.workers);
    compare("threads per worker", saved.threads_per_worker, now.threads_per_worker);
    compare("micro-batch rows", saved.micro_batch_rows, now.micro_batch_rows);
    compare("reduction", saved.reduction, now.reduction);
    compare("layout", saved.layout, now.layout);
    compare("precision", saved.precision, now.precision);
    compare("kernels", saved.kernels, now.kernels);
    compare("LibTorch", saved.torch_version, now.torch_version);
    compare("Kiban", saved.kiban_version, now.kiban_version);
    return {reason.empty() ? Exactness::exact : Exactness::sample_exact, reason};
}

}  // namespace kiban::checkpoint
