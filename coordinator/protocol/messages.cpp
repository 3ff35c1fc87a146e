// SPDX-License-Identifier: Apache-2.0
#include "coordinator/protocol/messages.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <type_traits>
#include <utility>

#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;

// The wire format: one line a field, read by the Writer and by the Reader.
template <typename V>
void fields(V& v, Hello& m) {
    v("rank", m.rank), v("world_size", m.world_size), v("host", m.host), v("pid", m.pid);
    v("kiban_version", m.kiban_version), v("torch_version", m.torch_version), v("mpi_version", m.mpi_version);
    v("hdf5_version", m.hdf5_version), v("kernels", m.kernels), v("threads", m.threads);
}
template <typename V>
void fields(V& v, Heartbeat& m) {
    v("phase", m.phase), v("step", m.step), v("collective", m.collective), v("work", m.work);
    v("resident_bytes", m.resident_bytes), v("optimizer_bytes", m.optimizer_bytes);
    v.may_be_absent("busy_seconds", m.busy_seconds);
    v.may_be_absent("busy_steps", m.busy_steps);
    v.may_be_absent("phase_seconds", m.phase_seconds);
}
template <typename V>
void fields(V& v, Traffic& m) {
    v("group", m.group), v("operation", m.operation), v("calls", m.calls), v("bytes", m.bytes);
    v("seconds", m.seconds);
}
template <typename V>
void fields(V& v, StepReport& m) {
    v("step", m.step), v("tokens", m.tokens), v("step_tokens", m.step_tokens), v("loss", m.loss);
    v("learning_rate", m.learning_rate), v("grad_norm", m.grad_norm), v("clipped", m.clipped),
        v("eval_loss", m.eval_loss);
    v("step_seconds", m.step_seconds), v("phase_seconds", m.phase_seconds);
    v.may_be_absent("eval_accuracy", m.eval_accuracy);
    v.may_be_absent("eval_targets", m.eval_targets);
    v.may_be_absent("traffic", m.traffic);
    v.may_be_absent("save_skipped", m.save_skipped);
}
template <typename V>
void fields(V& v, StageRequest& m) {
    v("step", m.step), v("bytes", m.bytes), v("state", m.state);
    v.may_be_absent("waited_for", m.waited_for);
}
template <typename V>
void fields(V& v, ShardWritten& m) {
    v("step", m.step), v("error", m.error), v("report", m.report);
    v.may_be_absent("seconds", m.seconds);
}
template <typename V>
void fields(V&, TaskRequest&) {}
template <typename V>
void fields(V& v, TaskDone& m) {
    v("id", m.id), v("result", m.result);
}
template <typename V>
void fields(V& v, LoadResult& m) {
    v("checkpoint", m.checkpoint), v("error", m.error), v("exactness", m.exactness);
}
template <typename V>
void fields(V& v, StepRefused& m) {
    v("step", m.step), v("position", m.position), v("rows", m.rows), v("kind", m.kind), v("reason", m.reason);
    v("loss", m.loss), v("grad_norm", m.grad_norm), v("roll_back", m.roll_back);
}
template <typename V>
void fields(V& v, monitoring::GroupNorms& m) {
    v("group", m.group), v("parameters", m.parameters), v("update", m.update);
}
template <typename V>
void fields(V& v, monitoring::LayerHealth& m) {
    v("layer", m.layer), v("rms", m.rms), v("largest", m.largest), v("kurtosis", m.kurtosis);
    v("mean_cosine", m.mean_cosine), v("attention_entropy_nats", m.attention_entropy_nats);
    v("attention_logit_max", m.attention_logit_max);
}
template <typename V>
void fields(V& v, Health& m) {
    v("step", m.step), v("groups", m.of.groups), v("layers", m.of.layers);
    v("adam_second_moment_norm", m.of.adam_second_moment_norm), v("output_logit_max", m.of.output_logit_max);
    v("embedding_effective_rank", m.of.embedding_effective_rank);
    v("embedding_isotropy_ratio", m.of.embedding_isotropy_ratio);
    v("embedding_uniformity", m.of.embedding_uniformity);
}
template <typename V>
void fields(V& v, Stacks& m) {
    v("text", m.text);
}
template <typename V>
void fields(V& v, Failure& m) {
    v("error", m.type), v("message", m.message), v("step", m.step), v("exit_code", m.exit_code);
}
template <typename V>
void fields(V& v, TracedSteps& m) {
    v("spans", m.spans), v("left_out", m.left_out);
}
template <typename V>
void fields(V& v, Finished& m) {
    v("step", m.step), v("stopped", m.stopped), v("output", m.output);
}
template <typename V>
void fields(V& v, Job& m) {
    v("mode", m.mode), v("run_file", m.run_file), v("manifest", m.manifest), v("manifest_digest", m.manifest_digest);
    v("checkpoint", m.checkpoint), v("options", m.options);
}
template <typename V>
void fields(V& v, Task& m) {
    v("none", m.none), v("task", m.task);
}
template <typename V>
void fields(V& v, StageReply& m) {
    v("step", m.step), v("directory", m.directory), v("error", m.error);
}
template <typename V>
void fields(V& v, SaveResult& m) {
    v("step", m.step), v("committed", m.committed), v("error", m.error);
}
template <typename V>
void fields(V& v, SaveInterval& m) {
    v("steps", m.steps);
}
template <typename V>
void fields(V& v, SaveSoon& m) {
    v("reason", m.reason);
}
template <typename V>
void fields(V&, ShowStacks&) {}
template <typename V>
void fields(V& v, TraceSteps& m) {
    v("steps", m.steps);
}
template <typename V>
void fields(V& v, Stop& m) {
    v("reason", m.reason);
}

template <typename Message>
const char* type_of();
#define KIBAN_MESSAGE_TYPE(Message, name) \
    template <>                           \
    const char* type_of<Message>() {      \
        return name;                      \
    }
KIBAN_MESSAGE_TYPE(Hello, "hello")
KIBAN_MESSAGE_TYPE(Heartbeat, "heartbeat")
KIBAN_MESSAGE_TYPE(StepReport, "step")
KIBAN_MESSAGE_TYPE(StageRequest, "stage_request")
KIBAN_MESSAGE_TYPE(ShardWritten, "shard_written")
KIBAN_MESSAGE_TYPE(TaskRequest, "task_request")
KIBAN_MESSAGE_TYPE(TaskDone, "task_done")
KIBAN_MESSAGE_TYPE(LoadResult, "load_result")
KIBAN_MESSAGE_TYPE(StepRefused, "step_refused")
KIBAN_MESSAGE_TYPE(Health, "health")
KIBAN_MESSAGE_TYPE(Stacks, "stacks")
KIBAN_MESSAGE_TYPE(Failure, "failure")
KIBAN_MESSAGE_TYPE(TracedSteps, "traced_steps")
KIBAN_MESSAGE_TYPE(Finished, "finished")
KIBAN_MESSAGE_TYPE(Job, "job")
KIBAN_MESSAGE_TYPE(Task, "task")
KIBAN_MESSAGE_TYPE(StageReply, "stage_reply")
KIBAN_MESSAGE_TYPE(SaveResult, "save_result")
KIBAN_MESSAGE_TYPE(SaveInterval, "save_interval")
KIBAN_MESSAGE_TYPE(SaveSoon, "save_soon")
KIBAN_MESSAGE_TYPE(ShowStacks, "show_stacks")
KIBAN_MESSAGE_TYPE(TraceSteps, "trace_steps")
KIBAN_MESSAGE_TYPE(Stop, "stop")
#undef KIBAN_MESSAGE_TYPE

constexpr std::size_t kMaxPhases = 32;
constexpr std::size_t kMaxLabel = 32;
constexpr std::size_t kMaxRows = 64;
static_assert(monitoring::kMostLayersShown <= kMaxRows);

// What is sent as an array of objects.
template <typename T>
inline constexpr bool kIsRow = false;
template <>
inline constexpr bool kIsRow<Traffic> = true;
template <>
inline constexpr bool kIsRow<monitoring::GroupNorms> = true;
template <>
inline constexpr bool kIsRow<monitoring::LayerHealth> = true;

// What becomes the value of a metric's label.
bool is_label(const std::string& word) {
    return !word.empty() && word.size() <= kMaxLabel &&
           std::all_of(word.begin(), word.end(), [](char c) { return c == '_' || (c >= 'a' && c <= 'z'); });
}

// JSON has no NaN and no infinity, and a diverging run must still be able to say so.
json number_to_json(double value) {
    if (std::isfinite(value)) return value;
    if (std::isnan(value)) return "nan";
    return value > 0 ? "inf" : "-inf";
}

struct Writer {
    json& out;

    template <typename T>
    void operator()(const char* name, const T& value) {
        if constexpr (std::is_same_v<T, double>) {
            out[name] = number_to_json(value);
        } else if constexpr (std::is_same_v<T, std::optional<double>>) {
            out[name] = value ? number_to_json(*value) : json(nullptr);
        } else if constexpr (std::is_same_v<T, std::map<std::string, double>>) {
            out[name] = json::object();
            for (const auto& [key, number] : value) out[name][key] = number_to_json(number);
        } else {
            out[name] = value;
        }
    }

    template <typename Row>
    requires kIsRow<Row>
    void operator()(const char* name, const std::vector<Row>& rows) {
        out[name] = json::array();
        for (Row row : rows) {
            Writer writer{out[name].emplace_back()};
            fields(writer, row);
        }
    }

    template <typename T>
    void may_be_absent(const char* name, const T& value) {
        (*this)(name, value);
    }
};

std::string excerpt(const json& value) {
    return value.dump(-1, ' ', false, json::error_handler_t::replace).substr(0, 64);
}

class Reader {
  public:
    Reader(const json& in, std::string type, std::set<std::string> known = {"type"})
        : in_(in), type_(std::move(type)), known_(std::move(known)) {}

    template <typename T>
    void operator()(const char* name, T& value) {
        const auto found = in_.find(name);
        if (found == in_.end()) throw ConfigError("message '{}': field '{}' is missing", type_, name);
        known_.insert(name);
        read(name, *found, value);
    }

    template <typename T>
    void may_be_absent(const char* name, T& value) {
        if (in_.contains(name)) (*this)(name, value);
    }

    void refuse_unknown() const {
        for (const auto& item : in_.items()) {
            if (known_.count(item.key()) == 0)
                throw ConfigError("message '{}': unknown field {}", type_, excerpt(item.key()));
        }
    }

  private:
    [[noreturn]] void refuse(const char* name, const char* expected, const json& found) const {
        throw ConfigError("message '{}': field '{}': expected {}, found {}", type_, name, expected, excerpt(found));
    }

    double number(const char* name, const json& from) const {
        if (from.is_number()) return from.get<double>();
        if (from == "nan") return std::numeric_limits<double>::quiet_NaN();
        if (from == "inf") return std::numeric_limits<double>::infinity();
        if (from == "-inf") return -std::numeric_limits<double>::infinity();
        refuse(name, "a number", from);
    }

    void read(const char* name, const json& from, std::string& value) const {
        if (!from.is_string()) refuse(name, "a string", from);
        value = from.get<std::string>();
    }
    void read(const char* name, const json& from, bool& value) const {
        if (!from.is_boolean()) refuse(name, "true or false", from);
        value = from.get<bool>();
    }
    void read(const char* name, const json& from, std::uint64_t& value) const {
        if (!from.is_number_unsigned()) refuse(name, "an integer of at least 0", from);
        value = from.get<std::uint64_t>();
    }
    void read(const char* name, const json& from, int& value) const {
        std::uint64_t wide = 0;
        read(name, from, wide);
        if (wide > std::numeric_limits<int>::max()) refuse(name, "an integer of at most 2147483647", from);
        value = static_cast<int>(wide);
    }
    void read(const char* name, const json& from, double& value) const { value = number(name, from); }
    void read(const char* name, const json& from, std::optional<double>& value) const {
        value = from.is_null() ? std::nullopt : std::optional(number(name, from));
    }
    void read(const char* name, const json& from, std::map<std::string, double>& value) const {
        if (!from.is_object() || from.size() > kMaxPhases) refuse(name, "an object of at most 32 numbers", from);
        value.clear();
        for (const auto& [key, item] : from.items()) {  // keys become metric labels: bounded
            if (!is_label(key)) refuse(name, "keys of a-z and _", key);
            value[key] = number(name, item);
        }
    }
    template <typename Row>
    requires kIsRow<Row>
    void read(const char* name, const json& from, std::vector<Row>& value) const {
        if (!from.is_array() || from.size() > kMaxRows) refuse(name, "an array of at most 64 rows", from);
        value.clear();
        for (const json& item : from) {
            if (!item.is_object()) refuse(name, "rows that are objects", item);
            Reader row(item, fmt::format("{}: {}", type_, name), {});
            fields(row, value.emplace_back());
            row.refuse_unknown();
            check(value.back(), item);
        }
    }
    void check(const Traffic& row, const json& item) const {
        if (!is_label(row.group)) refuse("group", "a word of a-z and _", row.group);
        if (!is_label(row.operation)) refuse("operation", "a word of a-z and _", row.operation);
        if (!std::isfinite(row.seconds) || row.seconds < 0)
            refuse("seconds", "a finite number of at least 0", item);  // it would spoil a sum for good
    }
    void check(const monitoring::GroupNorms& row, const json&) const {
        if (!is_label(row.group)) refuse("group", "a word of a-z and _", row.group);
    }
    void check(const monitoring::LayerHealth&, const json&) const {}
    void read(const char*, const json& from, json& value) const { value = from; }

    const json& in_;
    std::string type_;
    std::set<std::string> known_;
};

template <typename Variant>
json variant_to_json(const Variant& variant) {
    return std::visit(
        [](auto message) {
            json out = {{"type", type_of<decltype(message)>()}};
            Writer writer{out};
            fields(writer, message);
            return out;
        },
        variant);
}

template <typename Message>
Message read_message(const json& in) {
    Message message;
    Reader reader(in, type_of<Message>());
    fields(reader, message);
    reader.refuse_unknown();
    return message;
}

template <typename Variant, std::size_t... Index>
Variant variant_from_json(const json& in, std::index_sequence<Index...>) {
    if (!in.is_object()) throw ConfigError("message: expected an object, found {}", excerpt(in));
    const auto type = in.find("type");
    if (type == in.end() || !type->is_string()) throw ConfigError("message: field 'type' is missing or not a string");
    std::optional<Variant> result;
    const auto attempt = [&]<typename Message>() {
        if (!result && *type == type_of<Message>()) result = read_message<Message>(in);
    };
    (attempt.template operator()<std::variant_alternative_t<Index, Variant>>(), ...);
    if (!result) throw ConfigError("message: field 'type': unknown type {}", excerpt(*type));
    return *std::move(result);
}

}  // namespace

json to_json(const WorkerMessage& message) { return variant_to_json(message); }
json to_json(const CoordinatorMessage& message) { return variant_to_json(message); }

WorkerMessage worker_message_from_json(const json& in) {
    return variant_from_json<WorkerMessage>(in, std::make_index_sequence<std::variant_size_v<WorkerMessage>>());
}

CoordinatorMessage coordinator_message_from_json(const json& in) {
    return variant_from_json<CoordinatorMessage>(in,
                                                 std::make_index_sequence<std::variant_size_v<CoordinatorMessage>>());
}

}  // namespace kiban::coordinator
