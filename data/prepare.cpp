// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <algorithm>
#include <deque>
#include <numeric>

#include "data/bpe/unicode.h"
#include "data/bpe/words.h"
#include "data/digest.h"
#include "data/shard_plan.h"
#include "data/staging.h"
#include "data/task_plan.h"
#include "data/tasks.h"
#include "data/tokenizer.h"
#include "data/units.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::data {
namespace {

using nlohmann::json;

constexpr int kPreparationVersion = 1;  // part of a corpus' name: raise it when the same input gives other shards

// What of the configuration decides the shards' content.
json identity_of(const DataConfig& config, const std::optional<Tokenizer>& tokenizer) {
    json sources = json::array();
    for (const SourceConfig& source : config.sources) {
        sources.push_back(
            {{"path", encode_name(source.path)}, {"format", source.format}, {"text_field", source.text_field}});
    }
    json identity{{"version", kPreparationVersion},
                  {"tokenizer", config.tokenizer},
                  {"holdout_by", config.holdout.by == HoldoutBy::tail ? "tail" : "document"},
                  {"holdout_fraction", config.holdout.fraction},
                  {"unit_bytes", config.unit_bytes},
                  {"shard_tokens", config.shard_tokens},
                  {"sources", sources}};
    if (config.tokenizer == "bytes") return identity;
    identity["unicode"] = unicode_version();
    if (tokenizer) identity["tokenizer"] = tokenizer->sha256();  // a file's name says nothing
    return identity;
}

}  // namespace

struct Preparation::Impl {
    enum class State { waiting, handed_out, done };
    enum class Wave { none, count, train, tokenize, gather };

    struct Task {
        json message;
        std::uint64_t input_bytes = 0;  // 0 for a shard
        State state = State::waiting;
        json result;
    };

    Impl(const DataConfig& configuration, const std::filesystem::path& base, const std::filesystem::path& corpora_dir)
        : config(configuration) {
        validate(config);
        read_tokenizer(base);
        json inputs_identity = json::array();
        for (const SourceConfig& source : config.sources) {
            inputs.push_back(list_inputs(source, base));
            for (const InputFile& file : inputs.back()) {
                inputs_identity.push_back({encode_name(file.path.string()), file.bytes, file.modified_ns});
            }
        }
        const json identity = identity_of(config, tokenizer);
        config_sha256 = sha256(identity.dump());
        const std::string name = sha256(json{{"config", identity}, {"inputs", inputs_identity}}.dump());
        directory = std::filesystem::absolute(corpora_dir).lexically_normal() / name.substr(0, 16);
        if (adopt_published()) return;
        plan_units_of_sources();
        advance();
    }

    void read_tokenizer(const std::filesystem::path& base) {
        if (config.tokenizer == "bytes") tokenizer = Tokenizer(config.tokenizer);
        if (!Tokenizer::is_file(config.tokenizer)) return;
        given_tokenizer = read_tokenizer_file(base / config.tokenizer, config.tokenizer);
        tokenizer = Tokenizer::from_file(base / config.tokenizer);
    }

    /// A tokenizer that was given is kept beside the corpus: its file may go away or change.
    void keep_tokenizer() {
        if (given_tokenizer.empty() || std::filesystem::exists(tokenizer_file(directory, config.tokenizer))) return;
        monitoring::make_directories(staging_directory(directory));
        publish_through(staging_directory(directory), tokenizer_file(directory, config.tokenizer), given_tokenizer,
                        "data.tokenizer");
    }

    /// Another process, or an earlier one, may have finished this corpus.
    bool adopt_published() {
        std::error_code ignored;
        if (finished || !std::filesystem::exists(published_manifest(directory), ignored)) return finished;
        const Manifest manifest = Manifest::load(published_manifest(directory));
        published_tokens = 0;
        published_documents = 0;
        for (const ManifestShard& shard : manifest.shards) published_tokens += shard.tokens;
        for (const ManifestSource& source : manifest.sources) published_documents += source.documents;
        finish();
        return true;
    }

    void finish() {
        finished = true;
        std::error_code ignored;  // what cannot be deleted now is deleted when the corpus is next used
        std::filesystem::remove_all(staging_directory(directory), ignored);
    }

    void plan_units_of_sources() {
        for (std::uint32_t source = 0; source < config.sources.size(); ++source) {
            const auto more = plan_units(inputs[source], config.sources[source], source, config.unit_bytes,
                                         static_cast<std::uint32_t>(units.size()));
            units.insert(units.end(), more.begin(), more.end());
        }
    }

    /// The next wave of tasks, which follow those that are there. What a task has made before is not made again.
    template <typename Done>
    std::size_t enqueue(std::vector<PlannedTask> planned, const Done& result_of) {
        const std::size_t first = tasks.size();
        for (std::size_t i = 0; i < planned.size(); ++i) {
            Task task{std::move(planned[i].message), planned[i].input_bytes, State::waiting, {}};
            task.message["id"] = first + i;
            if (const std::optional<json> result = result_of(task.message)) set_done(task, *result);
            tasks.push_back(std::move(task));
        }
        std::vector<std::uint64_t> ids(planned.size());
        std::iota(ids.begin(), ids.end(), std::uint64_t{first});
        // Largest first, so that the last ones to be handed out are short.
        std::ranges::stable_sort(ids, std::greater<>(), [&](std::uint64_t id) { return tasks[id].input_bytes; });
        std::ranges::copy_if(ids, std::back_inserter(queue),
                             [&](std::uint64_t id) { return tasks[id].state == State::waiting; });
        return first;
    }

    void start_counting() {
        enqueue(plan_counting(config, units, directory),
                [&](const json& task) { return word_counts_result(word_counts_file(directory, task.at("unit"))); });
    }

    void start_training() {
        std::vector<json> counted;
        for (const Task& task : tasks) counted.push_back(task.result);
        enqueue({plan_training(config, units, counted, directory)}, [](const json&) { return std::nullopt; });
    }

    void start_tokenizing() {
        keep_tokenizer();
        if (!tokenizer) tokenizer = Tokenizer::from_file(tokenizer_file(directory, config.tokenizer), config.tokenizer);
        first_unit = enqueue(plan_tokenizing(config, units, *tokenizer, directory),
                             [&](const json& task) -> std::optional<json> {
                                 const auto staged = StagedUnit::open(staged_unit_file(directory, task.at("unit")));
                                 if (!staged) return std::nullopt;
                                 return staged->result();
                             });
    }

    void start_gathering() {
        std::vector<json> results;
        for (std::size_t i = 0; i < units.size(); ++i) results.push_back(tasks[first_unit + i].result);
        shards = plan_shards(config, units, results);
        sources = plan_streams(config, shards);
        first_shard = enqueue(
            plan_gathering(shards, *tokenizer, config_sha256, directory), [&](const json& task) -> std::optional<json> {
                const auto shard = task.at("shard").get<std::uint64_t>();
                const auto result = monitoring::read_text_if_exists(shard_result_file(directory, shard));
                if (!result || !std::filesystem::exists(directory / shard_name(shard))) {
                    return std::nullopt;
                }
                return json::parse(*result);
            });
    }

    bool all_done() const { return tasks_done == tasks.size(); }

    void set_done(Task& task, json result) {
        task.state = State::done;
        task.result = std::move(result);
        ++tasks_done;
    }

    /// To the next wave, or to the end, when nothing is left of this one.
    void advance() {
        try {
            while (!finished && all_done()) start_next_wave();
        } catch (const IoError&) {
            // Another process may have published the same bytes and removed the staging directory.
            if (!adopt_published()) throw;
        }
    }

    void start_next_wave() {
        const bool untrained = !tokenizer && !std::filesystem::exists(tokenizer_file(directory, config.tokenizer));
        switch (wave) {
            case Wave::none:
                if (untrained) {
                    wave = Wave::count;
                    return start_counting();
                }
                [[fallthrough]];
            case Wave::train: wave = Wave::tokenize; return start_tokenizing();
            case Wave::count: wave = Wave::train; return start_training();
            case Wave::tokenize: wave = Wave::gather; return start_gathering();
            case Wave::gather: return publish();
        }
    }

    void publish() {
        const std::filesystem::path staging = staging_directory(directory);
        monitoring::make_directories(staging);
        std::string list;
        for (std::size_t source = 0; source < inputs.size(); ++source) {
            for (const InputFile& file : inputs[source]) {
                const json line{{"source", source}, {"file", encode_name(file.name)}, {"bytes", file.bytes}};
                list += line.dump() + "\n";
            }
        }
        publish_through(staging, directory / "inputs.jsonl", list, "data.inputs");
        publish_through(staging, published_manifest(directory), manifest_of_results(sha256(list)).to_json(),
                        "data.manifest");
        finish();
    }

    Manifest manifest_of_results(const std::string& inputs_sha256) const {
        Manifest manifest{tokenizer->name(), "", "", tokenizer->vocabulary(), sources, {}, inputs_sha256, {}};
        if (tokenizer->has_file()) manifest.tokenizer_sha256 = tokenizer->sha256();
        if (tokenizer->bpe()) manifest.unicode = unicode_version();
        std::vector<std::string> blocks(sources.size());
        for (std::size_t shard = 0; shard < shards.size(); ++shard) {
            const json& result = tasks[first_shard + shard].result;
            manifest.shards.push_back({shard_name(shard), shards[shard].tokens, result.at("bytes").get<std::uint64_t>(),
                                       result.at("sha256").get<std::string>()});
            blocks[shards[shard].source] += result.at("blocks").get<std::string>();
        }
        for (std::size_t unit = 0; unit < units.size(); ++unit) {
            manifest.sources[units[unit].source].documents +=
                tasks[first_unit + unit].result.at("documents").get<std::uint64_t>();
        }
        for (std::size_t i = 0; i < manifest.sources.size(); ++i) {
            ManifestSource& source = manifest.sources[i];
            source.id =
                sha256(fmt::format("kiban source 1\n{}\n{}\n", source.train.tokens + source.holdout.tokens, blocks[i]));
            for (const InputFile& file : inputs[i]) source.input_bytes += file.bytes;
        }
        return manifest;
    }

    void tell_of_training(const json& result) const {
        monitoring::log_info("tokenizer '{}' is trained on {} different words: {}", config.tokenizer,
                             result.at("words").get<std::uint64_t>(), result.at("tokenizer").get<std::string>());
        if (const auto left_out = result.at("left_out").get<std::uint64_t>(); left_out > 0) {
            monitoring::log_warning("{} words that occur less than {} times ({} bytes of text) did not fit into memory",
                                    left_out, result.at("least_count").get<std::uint64_t>(),
                                    result.at("left_out_bytes").get<std::uint64_t>());
        }
    }

    Task& task_of(std::uint64_t id) {
        KIBAN_CHECK(id < tasks.size(), "task {} of {}", id, tasks.size());
        return tasks[id];
    }

    DataConfig config;
    std::filesystem::path directory;
    std::string config_sha256;
    std::vector<std::vector<InputFile>> inputs;  // by source
    std::vector<Unit> units;
    std::vector<PlannedShard> shards;  // empty until every unit is tokenized
    std::vector<ManifestSource> sources;
    std::string given_tokenizer;         // the bytes of a file that the run file names
    std::optional<Tokenizer> tokenizer;  // none until it is trained
    Wave wave = Wave::none;
    std::vector<Task> tasks;      // wave after wave
    std::size_t first_unit = 0;   // the task of the first unit that is tokenized
    std::size_t first_shard = 0;  // and of the first shard
    std::deque<std::uint64_t> queue;
    std::size_t tasks_done = 0;
    bool finished = false;
    std::uint64_t published_tokens = 0;
    std::uint64_t published_documents = 0;
};

Preparation::Preparation(const DataConfig& config, const std::filesystem::path& base,
                         const std::filesystem::path& corpora_dir)
    : impl_(std::make_unique<Impl>(config, base, corpora_dir)) {}

Preparation::~Preparation() = default;

bool Preparation::finished() const { return impl_->finished; }

std::optional<json> Preparation::next_task() {
    if (impl_->adopt_published()) return std::nullopt;
    while (!impl_->queue.empty()) {
        Impl::Task& task = impl_->task_of(impl_->queue.front());
        impl_->queue.pop_front();
        if (task.state != Impl::State::waiting) continue;
        task.state = Impl::State::handed_out;
        return task.message;
    }
    return std::nullopt;
}

void Preparation::complete(std::uint64_t id, const json& result) {
    Impl::Task& task = impl_->task_of(id);
    if (impl_->adopt_published() || task.state == Impl::State::done)
        return;  // done elsewhere, or given back and done twice
    if (result.contains("superseded")) return give_back(id);
    if (task.message.at("kind") == "train") {
        impl_->tell_of_training(result);
    } else {
        const char* key = task.message.at("kind") == "shard" ? "shard" : "unit";
        KIBAN_CHECK(result.contains(key) && result.at(key) == task.message.at(key), "the result of task {} is {}", id,
                    result.dump());
    }
    impl_->set_done(task, result);
    impl_->advance();
}

void Preparation::give_back(std::uint64_t id) {
    Impl::Task& task = impl_->task_of(id);
    if (task.state != Impl::State::handed_out) return;
    task.state = Impl::State::waiting;
    impl_->queue.push_front(id);
}

PrepareProgress Preparation::progress() const {
    PrepareProgress progress;
    for (const auto& files : impl_->inputs) {
        for (const InputFile& file : files) progress.input_bytes_total += file.bytes;
    }
    progress.tasks_total = impl_->tasks.size();
    for (const Impl::Task& task : impl_->tasks) {
        if (task.state != Impl::State::done) continue;
        ++progress.tasks_done;
        if (task.message.at("kind") != "tokenize") continue;
        progress.input_bytes_done += task.input_bytes;
        progress.documents += task.result.at("documents").get<std::uint64_t>();
        progress.tokens +=
            task.result.at("train").get<std::uint64_t>() + task.result.at("holdout").get<std::uint64_t>();
    }
    if (impl_->published_tokens > 0) {
        progress = {progress.tasks_total,       progress.tasks_total,       progress.input_bytes_total,
                    progress.input_bytes_total, impl_->published_documents, impl_->published_tokens};
    }
    return progress;
}

std::filesystem::path Preparation::manifest_file() const { return published_manifest(impl_->directory); }

json run_task(const json& task) {
    const auto kind = task.at("kind").get<std::string>();
    if (kind == "count") return run_count(task);
    if (kind == "train") return run_train(task);
    if (kind == "tokenize") return run_tokenize(task);
    KIBAN_CHECK(kind == "shard", "a task of kind '{}'", kind);
    return run_shard(task);
}

Manifest prepare_here(const DataConfig& config, const std::filesystem::path& base,
                      const std::filesystem::path& corpora_dir) {
    Preparation preparation(config, base, corpora_dir);
    while (const auto task = preparation.next_task()) {
        preparation.complete(task->at("id").get<std::uint64_t>(), run_task(*task));
    }
    KIBAN_CHECK(preparation.finished(), "no task is left and the corpus is not there");
    return Manifest::load(preparation.manifest_file());
}

}  // namespace kiban::data
