// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <algorithm>
#include <deque>
#include <numeric>

#include "data/digest.h"
#include "data/shard_plan.h"
#include "data/staging.h"
#include "data/tasks.h"
#include "data/tokenizer.h"
#include "data/units.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using nlohmann::json;

constexpr int kPreparationVersion = 1;  // part of a corpus' name: raise it when the same input gives other shards

// What of the configuration decides the shards' content.
json identity_of(const DataConfig& config) {
    json sources = json::array();
    for (const SourceConfig& source : config.sources) {
        sources.push_back(
            {{"path", encode_name(source.path)}, {"format", source.format}, {"text_field", source.text_field}});
    }
    return {{"version", kPreparationVersion},
            {"tokenizer", config.tokenizer},
            {"holdout_by", config.holdout.by == HoldoutBy::tail ? "tail" : "document"},
            {"holdout_fraction", config.holdout.fraction},
            {"unit_bytes", config.unit_bytes},
            {"shard_tokens", config.shard_tokens},
            {"sources", sources}};
}

}  // namespace

struct Preparation::Impl {
    enum class State { waiting, handed_out, done };

    struct Task {
        json message;
        std::uint64_t input_bytes = 0;  // 0 for a shard
        State state = State::waiting;
        json result;
    };

    Impl(const DataConfig& configuration, const std::filesystem::path& base, const std::filesystem::path& corpora_dir)
        : config(configuration) {
        validate(config);
        json inputs_identity = json::array();
        for (const SourceConfig& source : config.sources) {
            inputs.push_back(list_inputs(source, base));
            for (const InputFile& file : inputs.back()) {
                inputs_identity.push_back({encode_name(file.path.string()), file.bytes, file.modified_ns});
            }
        }
        const json identity = identity_of(config);
        config_sha256 = sha256(identity.dump());
        const std::string name = sha256(json{{"config", identity}, {"inputs", inputs_identity}}.dump());
        directory = std::filesystem::absolute(corpora_dir).lexically_normal() / name.substr(0, 16);
        if (adopt_published()) return;
        try {
            plan_tokenizing();
        } catch (const IoError&) {
            // Another process may have published the corpus and removed what was staged while it was looked at.
            if (!adopt_published()) throw;
        }
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

    void plan_tokenizing() {
        const std::uint64_t below = held_out_below(config.holdout);
        for (std::uint32_t source = 0; source < config.sources.size(); ++source) {
            const auto more = plan_units(inputs[source], config.sources[source], source, config.unit_bytes,
                                         static_cast<std::uint32_t>(units.size()));
            units.insert(units.end(), more.begin(), more.end());
        }
        for (const Unit& unit : units) {
            json pieces = json::array();
            for (const Piece& piece : unit.pieces) pieces.push_back(to_json(piece));
            Task task;
            task.message = {{"id", unit.id},
                            {"kind", "tokenize"},
                            {"directory", encode_name(directory.string())},
                            {"unit", unit.id},
                            {"tokenizer", config.tokenizer},
                            {"held_out_below", below},
                            {"pieces", std::move(pieces)}};
            task.input_bytes = unit.bytes;
            if (const auto staged = StagedUnit::open(staged_unit_file(directory, unit.id))) {
                set_done(task, staged->result());
            }
            tasks.push_back(std::move(task));
        }
        enqueue_from(0);
        advance();
    }

    void plan_gathering() {
        std::vector<json> results;
        for (const Task& task : tasks) results.push_back(task.result);
        shards = plan_shards(config, units, results);
        sources = plan_streams(config, shards);
        for (std::size_t shard = 0; shard < shards.size(); ++shard) {
            json parts = json::array();
            for (const ShardPart& part : shards[shard].parts) {
                parts.push_back({{"unit", part.unit},
                                 {"held_out", part.held_out ? 1 : 0},
                                 {"skip", part.skip},
                                 {"take", part.take},
                                 {"document", part.document}});
            }
            Task task;
            task.message = {{"id", units.size() + shard},
                            {"kind", "shard"},
                            {"directory", encode_name(directory.string())},
                            {"shard", shard},
                            {"tokens", shards[shard].tokens},
                            {"tokenizer", config.tokenizer},
                            {"config_sha256", config_sha256},
                            {"parts", std::move(parts)}};
            const auto result = monitoring::read_text_if_exists(shard_result_file(directory, shard));
            if (result && std::filesystem::exists(directory / shard_name(shard))) {
                set_done(task, json::parse(*result));
            }
            tasks.push_back(std::move(task));
        }
        enqueue_from(units.size());
    }

    /// Largest first, so that the last ones to be handed out are short.
    void enqueue_from(std::size_t first) {
        std::vector<std::uint64_t> ids(tasks.size() - first);
        std::iota(ids.begin(), ids.end(), std::uint64_t{first});
        std::ranges::stable_sort(ids, std::greater<>(), [&](std::uint64_t id) { return tasks[id].input_bytes; });
        std::ranges::copy_if(ids, std::back_inserter(queue),
                             [&](std::uint64_t id) { return tasks[id].state == State::waiting; });
    }

    bool all_done() const { return tasks_done == tasks.size(); }

    void set_done(Task& task, json result) {
        task.state = State::done;
        task.result = std::move(result);
        ++tasks_done;
    }

    /// To the next wave, or to the end, when nothing is left of this one.
    void advance() {
        if (finished || !all_done()) return;
        try {
            if (shards.empty()) plan_gathering();
            if (all_done()) publish();
        } catch (const IoError&) {
            // Another process may have published the same bytes and removed the staging directory.
            if (!adopt_published()) throw;
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
        const Tokenizer tokenizer(config.tokenizer);
        Manifest manifest{tokenizer.name(), tokenizer.vocabulary(), sources, {}, inputs_sha256, {}};
        std::vector<std::string> blocks(sources.size());
        for (std::size_t shard = 0; shard < shards.size(); ++shard) {
            const json& result = tasks[units.size() + shard].result;
            manifest.shards.push_back({shard_name(shard), shards[shard].tokens, result.at("bytes").get<std::uint64_t>(),
                                       result.at("sha256").get<std::string>()});
            blocks[shards[shard].source] += result.at("blocks").get<std::string>();
        }
        for (std::size_t unit = 0; unit < units.size(); ++unit) {
            manifest.sources[units[unit].source].documents += tasks[unit].result.at("documents").get<std::uint64_t>();
        }
        for (std::size_t i = 0; i < manifest.sources.size(); ++i) {
            ManifestSource& source = manifest.sources[i];
            source.id =
                sha256(fmt::format("kiban source 1\n{}\n{}\n", source.train.tokens + source.holdout.tokens, blocks[i]));
            for (const InputFile& file : inputs[i]) source.input_bytes += file.bytes;
        }
        return manifest;
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
    std::vector<Task> tasks;  // the units', then the shards'
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
    const char* key = task.message.at("kind") == "shard" ? "shard" : "unit";
    KIBAN_CHECK(result.contains(key) && result.at(key) == task.message.at(key), "the result of task {} is {}", id,
                result.dump());
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
        progress.input_bytes_done += task.input_bytes;
        if (task.message.at("kind") != "tokenize") continue;
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
