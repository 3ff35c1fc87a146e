// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "coordinator/config/run_file.h"
#include "coordinator/config/vocabulary.h"
#include "coordinator/job/cpus.h"
#include "coordinator/job/layout.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"
#include "monitoring/listen_address.h"

namespace kiban::coordinator {
namespace {

// "8 and 12": the multiples of `unit` on both sides of `value`.
std::string nearest_multiples(std::uint64_t value, std::uint64_t unit) {
    const std::uint64_t below = value / unit * unit;
    return below == 0 ? fmt::format("{}", unit) : fmt::format("{} or {}", below, below + unit);
}

void check_run(RunFile& file) {
    const std::string& name = file.run.name;
    const auto allowed = [](char c) {
        return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '.' || c == '_' ||
               c == '-';
    };
    if (name.empty() || name.size() > 100 || name.front() == '.' || !std::all_of(name.begin(), name.end(), allowed)) {
        throw ConfigError("run.name is '{}', expected 1 to 100 letters, digits and '.', '_' or '-', with no '.' first",
                          name);
    }
    if (file.run.dir.empty()) file.run.dir = std::filesystem::path("runs") / name;
}

void check_rows(const ModelConfig& model, const std::string& tokenizer, std::int64_t tokens) {
    if (model.vocabulary == 0 || model.vocabulary >= tokens) return;
    throw ConfigError("model.vocabulary = {} is smaller than the {} tokens of data.tokenizer = '{}'", model.vocabulary,
                      tokens, tokenizer);
}

void check_model(ModelConfig& model, const std::string& tokenizer) {
    if (model.d_model % model.heads != 0) {
        throw ConfigError("model.heads = {} does not divide model.d_model = {}: expected a divisor, such as {}",
                          model.heads, model.d_model, [&] {
                              std::int64_t heads = model.heads;
                              while (heads > 1 && model.d_model % heads != 0) --heads;
                              return heads;
                          }());
    }
    if (model.kv_heads != 0 && model.heads % model.kv_heads != 0) {
        throw ConfigError("model.kv_heads = {} does not divide model.heads = {}", model.kv_heads, model.heads);
    }
    if (model.layout == ModelLayout::gpt2) {
        if (model.resolved_kv_heads() != model.heads) {
            throw ConfigError(
                "model.kv_heads = {} with model.layout = 'gpt2', which has as many as model.heads = {}: leave it out, "
                "or use 'llama'",
                model.kv_heads, model.heads);
        }
        if (model.rope_theta != ModelConfig{}.rope_theta) {
            throw ConfigError(
                "model.rope_theta = {} with model.layout = 'gpt2', which has learned positions: leave it out, or use "
                "'llama'",
                model.rope_theta);
        }
    } else if (model.head_size() % 2 != 0) {
        throw ConfigError("model.d_model / model.heads = {} / {} = {} is odd: rotary positions turn pairs of channels",
                          model.d_model, model.heads, model.head_size());
    }
    if (const auto tokens = data::Tokenizer::vocabulary_of(tokenizer)) check_rows(model, tokenizer, *tokens);
    model.kv_heads = model.resolved_kv_heads();
    model.d_hidden = model.resolved_hidden();
}

void check_available(const RunFile& file) {
    const auto only_one = [](const char* axis, int value) {
        if (value != 1) throw ConfigError("parallel.{} = {} is not available yet: expected 1", axis, value);
    };
    only_one("context", file.parallel.context);
}

// Every worker takes the same number of whole micro-batches (design: contiguous blocks of them).
void check_batch(TrainConfig& train, std::uint64_t workers) {
    const std::uint64_t batch = train.batch_rows;
    if (train.micro_batch_rows == 0) {
        if (batch % workers != 0) {
            throw ConfigError(
                "train.batch_rows = {} rows cannot be shared evenly by {} data-parallel workers; the nearest that can: "
                "{}",
                batch, workers, nearest_multiples(batch, workers));
        }
        train.micro_batch_rows = batch / workers;
    }
    const std::uint64_t micro = train.micro_batch_rows;
    if (batch % micro != 0) {
        throw ConfigError(
            "train.micro_batch_rows = {} does not divide train.batch_rows = {}; the nearest batch_rows that would do: "
            "{}",
            micro, batch, nearest_multiples(batch, micro));
    }
    if (batch / micro % workers != 0) {
        throw ConfigError(
            "train.batch_rows = {} is {} micro-batches of train.micro_batch_rows = {}, which {} data-parallel workers "
            "cannot share "
            "evenly; the nearest batch_rows that would do: {}",
            batch, batch / micro, micro, workers, nearest_multiples(batch, micro * workers));
    }
    if (train.eval_micro_batch_rows == 0) train.eval_micro_batch_rows = micro;
}

void check_optimizer(const OptimizerConfig& optimizer) {
    if (optimizer.name != "muon" && optimizer.muon_momentum != OptimizerConfig{}.muon_momentum) {
        throw ConfigError("train.optimizer.muon_momentum = {} is for train.optimizer.name = 'muon' only: leave it out",
                          optimizer.muon_momentum);
    }
}

// Between the layers, the tokens of a micro-batch are shared out evenly.
void check_tokens_of_tensor_ranks(const RunFile& file) {
    const auto tensor = static_cast<std::uint64_t>(file.parallel.tensor);
    const auto check = [&](const char* key, std::uint64_t rows) {
        if (rows * file.data.sequence_length % tensor == 0) return;
        throw ConfigError(
            "{} = {} rows of data.sequence_length = {} tokens cannot be shared evenly by parallel.tensor = {}", key,
            rows, file.data.sequence_length, tensor);
    };
    check("train.micro_batch_rows", file.train.micro_batch_rows);
    check("train.eval_micro_batch_rows", file.train.eval_micro_batch_rows);
}

void check_device(const TrainConfig& train) {
    const bool on_gpu = train.device == "cuda";
    if (on_gpu && train.kernels == "native")
        throw ConfigError(
            "train.kernels = 'native' with train.device = 'cuda': native kernels run on the CPU; expected 'auto' or "
            "'aten'");
    if (train.precision == "fp32" || (!on_gpu && train.kernels != "aten")) return;
    throw ConfigError(
        "train.precision: expected 'fp32' with {}, whose kernels have no other, found '{}'; or set train.device = "
        "'cpu' and train.kernels = 'auto'",
        on_gpu ? "train.device = 'cuda'" : "train.kernels = 'aten'", train.precision);
}

// A derived shape would change with the number of workers, and with it every digit.
void check_shape_is_said(const TrainConfig& train) {
    if (train.reduction != "fixed" || train.micro_batch_rows != 0) return;
    throw ConfigError(
        "train.reduction = 'fixed' without train.micro_batch_rows: expected a number of rows, which stays as it is "
        "when "
        "the number of workers changes");
}

void check_reduction(const RunFile& file, int data) {
    if (file.train.reduction != "fixed") return;
    if ((data & (data - 1)) != 0) {
        throw ConfigError(
            "train.reduction = 'fixed' with {} data-parallel workers: expected a power of two, whose blocks of "
            "micro-batches are branches of one tree",
            data);
    }
    if (file.parallel.zero >= 2) {
        throw ConfigError(
            "train.reduction = 'fixed' with parallel.zero = {}, which sums gradients after each micro-batch: expected "
            "0 "
            "or 1",
            file.parallel.zero);
    }
}

void check_wsd_only_keys(const ScheduleConfig& schedule) {
    if (schedule.name == ScheduleName::wsd) return;
    if (schedule.decay_steps != 0) {
        throw ConfigError("train.schedule.decay_steps = {} is for train.schedule.name = 'wsd' only: leave it out",
                          schedule.decay_steps);
    }
    if (schedule.decay != DecayShape::linear)
        throw ConfigError("train.schedule.decay is for train.schedule.name = 'wsd' only: leave it out");
}

// A schedule that the run cuts off was meant for another run: it never reaches its peak, or never its end.
void check_schedule(const TrainConfig& train) {
    const ScheduleConfig& schedule = train.schedule;
    check_wsd_only_keys(schedule);
    if (schedule.warmup_steps > train.steps) {
        throw ConfigError(
            "train.schedule.warmup_steps = {} is longer than train.steps = {}: lower it, or raise train.steps",
            schedule.warmup_steps, train.steps);
    }
    if (schedule.name != ScheduleName::wsd) return;
    const std::uint64_t decay = resolved_decay_steps(schedule, train.steps);
    if (schedule.decay_steps > train.steps || schedule.warmup_steps > train.steps - decay) {
        throw ConfigError(
            "train.schedule.warmup_steps = {} and train.schedule.decay_steps = {} do not fit into train.steps = {}",
            schedule.warmup_steps,
            schedule.decay_steps != 0 ? fmt::format("{}", schedule.decay_steps)
                                      : fmt::format("0 (a tenth of the run: {})", decay),
            train.steps);
    }
}

// The position in the sample order and the number of tokens are 64-bit integers.
void check_total(const RunFile& file) {
    const double tokens =
        static_cast<double>(file.train.steps) * static_cast<double>(file.train.batch_rows) * file.data.sequence_length;
    if (tokens > 9e18) {
        throw ConfigError(
            "train.steps = {} of train.batch_rows = {} rows of data.sequence_length = {} are {:.3g} tokens: expected "
            "at most 9e18",
            file.train.steps, file.train.batch_rows, file.data.sequence_length, tokens);
    }
}

void check_checkpoint(const checkpoint::CheckpointConfig& checkpoint) {
    if (checkpoint.min_interval_steps > checkpoint.max_interval_steps) {
        throw ConfigError("checkpoint.min_interval_steps = {} is above checkpoint.max_interval_steps = {}",
                          checkpoint.min_interval_steps, checkpoint.max_interval_steps);
    }
}

void check_launch(LaunchConfig& launch) {
    if (launch.control_interface.empty()) {
        throw ConfigError(
            "launch.control_interface is empty, expected an address or an interface, such as '127.0.0.1' or 'eth0'");
    }
    launch.threads_derived = launch.threads_per_worker == 0;
    if (launch.threads_derived) launch.threads_per_worker = default_threads(launch.workers);
}

}  // namespace

std::int64_t vocabulary_of(const RunFile& file) {
    const std::int64_t tokens = data::Tokenizer::vocabulary_of(file.data.tokenizer, file.base);
    check_rows(file.model, file.data.tokenizer, tokens);
    return file.model.vocabulary != 0 ? file.model.vocabulary : tokens;
}

void validate(RunFile& file) {
    check_run(file);
    data::validate(file.data);
    check_model(file.model, file.data.tokenizer);
    check_available(file);
    check_cut(file.model, file.parallel);
    const int data = data_degree(file.parallel, file.launch.workers);
    shard_degree(file.parallel, file.launch.workers);
    check_shape_is_said(file.train);
    check_batch(file.train, static_cast<std::uint64_t>(data));
    check_tokens_of_tensor_ranks(file);
    check_reduction(file, data);
    check_optimizer(file.train.optimizer);
    check_device(file.train);
    check_schedule(file.train);
    check_total(file);
    if (!file.monitoring.listen.empty()) monitoring::parse_listen_address(file.monitoring.listen);
    check_checkpoint(file.checkpoint);
    check_launch(file.launch);
}

}  // namespace kiban::coordinator
