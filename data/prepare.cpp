// SPDX-License-Identifier: Apache-2.0
#include "data/prepare.h"

#include <algorithm>

#include "data/bpe/unicode.h"
#include "data/bpe/words.h"
#include "data/card.h"
#include "data/clean/counts.h"
#include "data/corpus_identity.h"
#include "data/corpus_manifest.h"
#include "data/digest.h"
#include "data/duplicates.h"
#include "data/near_duplicates.h"
#include "data/privacy/account.h"
#include "data/privacy/anonymiser.h"
#include "data/shard_plan.h"
#include "data/staging.h"
#include "data/task_plan.h"
#include "data/task_pool.h"
#include "data/tasks.h"
#include "data/tokenizer.h"
#include "data/units.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::data {
using nlohmann::json;

namespace {

// What of a result says which task it is of.
std::string result_key(const std::string& kind) {
    if (kind == "train" || kind == "evaluation") return "";
    if (kind == "shard") return "shard";
    if (kind == "band") return "band";
    return kind == "dedupe" || kind == "cluster" ? "range" : "unit";
}

}  // namespace

struct Preparation::Impl {
    /// In this order; each is left out when it is not asked for.
    enum class Wave { none, evaluate, count, train, tokenize, deduplicate, link, join, gather, publish };

    Impl(const DataConfig& configuration, const std::filesystem::path& base, const std::filesystem::path& corpora_dir)
        : config(configuration) {
        validate(config);
        read_tokenizer(base);
        json inputs_identity = json::array();
        for (const SourceConfig& source : config.sources) {
            inputs.push_back(list_inputs(source, base));
            for (const InputFile& file : inputs.back()) {
                inputs_identity.push_back({encode_name(file.path.string()), file.bytes, file.modified_ns});
                // Before archives were read such a file was one text: what was made of it then has another name.
                if (file.tar) inputs_identity.back().push_back("tar");
            }
        }
        find_evaluation(base, inputs_identity);
        find_key(base);
        const json identity = corpus_identity(config, tokenizer);
        config_sha256 = sha256(identity.dump());
        const std::string name = sha256(json{{"config", identity}, {"inputs", inputs_identity}}.dump());
        directory = std::filesystem::absolute(corpora_dir).lexically_normal() / name.substr(0, 16);
        if (adopt_published()) return;
        plan_units_of_sources();
        advance();
    }

    void find_evaluation(const std::filesystem::path& base, json& inputs_identity) {
        const ContaminationConfig& contamination = config.clean.contamination;
        if (contamination.files.empty()) return;
        SourceConfig source;
        source.path = contamination.files;
        source.text_field = contamination.text_field;
        evaluation = list_inputs(source, base);
        for (const InputFile& file : evaluation)
            inputs_identity.push_back({encode_name(file.path.string()), file.bytes, file.modified_ns});
    }

    void find_key(const std::filesystem::path& base) {
        AnonymiseConfig& anonymise = config.clean.anonymise;
        if (!anonymise.names_file.empty()) {
            anonymise.names_file = std::filesystem::absolute(base / anonymise.names_file).lexically_normal().string();
            anonymise.names_id = read_names(anonymise.names_file)->id();
        }
        if (anonymise.key_file.empty()) return;
        anonymise.key_file = std::filesystem::absolute(base / anonymise.key_file).lexically_normal().string();
        anonymise.key_id = key_id(key_of(anonymise));
        // Of the key alone: were it the configuration's, another source would change the text of all the others, and
        // with it what is held out.
        anonymise.salt = anonymise.key_id;
    }

    void read_tokenizer(const std::filesystem::path& base) {
        if (config.tokenizer == "bytes") tokenizer = Tokenizer(config.tokenizer);
        if (!Tokenizer::is_file(config.tokenizer)) return;
        given_tokenizer = read_tokenizer_file(base / config.tokenizer, config.tokenizer);
        tokenizer = Tokenizer::from_file(base / config.tokenizer);
    }

    /// A tokenizer that was given is kept beside the corpus: its file may go away or change.
    void keep_tokenizer() {
        if (given_tokenizer.empty() || monitoring::anything_at(tokenizer_file(directory, config.tokenizer))) return;
        monitoring::make_directories(staging_directory(directory));
        publish_through(staging_directory(directory), tokenizer_file(directory, config.tokenizer), given_tokenizer,
                        "data.tokenizer");
    }

    /// Another process, or an earlier one, may have finished this corpus.
    bool adopt_published() {
        if (finished || !monitoring::anything_at(published_manifest(directory))) return finished;
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
                                         static_cast<std::uint32_t>(units.size()), config.clean.active());
            units.insert(units.end(), more.begin(), more.end());
        }
    }

    void start_counting() {
        trains = true;
        first_count = pool.add(plan_counting(config, units, directory), [&](const json& task) {
            return word_counts_result(word_counts_file(directory, task.at("unit")));
        });
    }

    void start_training() {
        const std::vector<json> counted = pool.results(first_count, pool.all().size() - first_count);
        pool.add({plan_training(config, units, counted, directory)});
    }

    void start_tokenizing() {
        keep_tokenizer();
        if (!tokenizer) tokenizer = Tokenizer::from_file(tokenizer_file(directory, config.tokenizer), config.tokenizer);
        first_unit = pool.add(plan_tokenizing(config, units, *tokenizer, directory),
                              [&](const json& task) -> std::optional<json> {
                                  const auto staged = StagedUnit::open(staged_unit_file(directory, task.at("unit")));
                                  if (!staged) return std::nullopt;
                                  return staged->result();
                              });
    }

    void start_deduplicating() {
        std::uint64_t documents = 0;
        for (const json& result : pool.results(first_unit, units.size()))
            documents += result.at("documents").get<std::uint64_t>();
        ranges = duplicate_ranges(documents);
        first_range = pool.add(plan_deduplication(units.size(), documents, directory), compared());
    }

    TaskPool::Made compared() const {
        return [this](const json& task) { return duplicates_result(directory, task.at("range").get<std::uint64_t>()); };
    }

    // The clusters are one range more.
    void start_joining() {
        const std::size_t first = pool.add({plan_joining(ranges, directory)}, compared());
        KIBAN_CHECK(first == first_range + ranges + kBands, "the clusters are task {}", first);
        ++ranges;
    }

    std::vector<json> duplicates() const {
        std::vector<json> results = pool.results(first_range, near() ? ranges - 1 : ranges);
        if (near()) results.push_back(pool.at(first_range + ranges - 1 + kBands).result);
        return results;
    }

    void start_gathering() {
        const std::vector<json> tokenized = pool.results(first_unit, units.size());
        check_rejected(config, units, tokenized);
        unit_results = without_duplicates(tokenized, duplicates());
        shards = plan_shards(config, units, unit_results);
        sources = plan_streams(config, shards);
        first_shard = pool.add(plan_gathering(shards, *tokenizer, config_sha256, ranges, directory),
                               [&](const json& task) -> std::optional<json> {
                                   const auto shard = task.at("shard").get<std::uint64_t>();
                                   const auto result =
                                       monitoring::read_text_if_exists(shard_result_file(directory, shard));
                                   if (!result || !monitoring::anything_at(directory / shard_name(shard))) {
                                       return std::nullopt;
                                   }
                                   return json::parse(*result);
                               });
    }

    /// To the next wave, or to the end, when nothing is left of this one. What the disk refuses the next call tries
    /// anew.
    void advance() {
        while (!finished && pool.all_done()) {
            const Wave before = wave;
            const std::size_t tasks = pool.all().size();
            try {
                start_next_wave();
            } catch (const IoError&) {
                wave = before;
                pool.forget_from(tasks);
                // Another process may have published the same bytes and removed the staging directory.
                if (!adopt_published()) throw;
            }
        }
    }

    void start_next_wave() {
        do wave = static_cast<Wave>(static_cast<int>(wave) + 1);
        while (!wanted());
        switch (wave) {
            case Wave::none: break;
            case Wave::evaluate: pool.add({plan_evaluation(config, evaluation, directory)}); break;
            case Wave::count: return start_counting();
            case Wave::train: return start_training();
            case Wave::tokenize: return start_tokenizing();
            case Wave::deduplicate: return start_deduplicating();
            case Wave::link: pool.add(plan_linking(units.size(), directory)); break;
            case Wave::join: return start_joining();
            case Wave::gather: return start_gathering();
            case Wave::publish: return publish();
        }
    }

    bool wanted() const {
        switch (wave) {
            case Wave::evaluate: return !evaluation.empty();
            case Wave::count:
                return !tokenizer && !monitoring::anything_at(tokenizer_file(directory, config.tokenizer));
            case Wave::train: return trains;
            case Wave::deduplicate: return config.clean.deduplicate != "none";
            case Wave::link:
            case Wave::join: return near();
            default: return true;
        }
    }

    bool near() const { return config.clean.deduplicate == "near"; }

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
        Manifest manifest = manifest_of(*tokenizer, sources, inputs, units, unit_results);
        manifest.inputs_sha256 = sha256(list);
        add_shards(manifest, shards, pool.results(first_shard, shards.size()));
        if (!evaluation.empty()) add_evaluation(manifest, config.clean.contamination, pool.at(0).result);
        publish_audit_log(manifest);
        publish_through(staging, directory / "card.md", data_card(manifest), "data.card");
        publish_through(staging, directory / "croissant.json", croissant(manifest), "data.card");
        publish_through(staging, published_manifest(directory), manifest.to_json(), "data.manifest");
        for (const ManifestSource& source : manifest.sources) tell_of_cleaning(source);
        finish();
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

    void publish_audit_log(Manifest& manifest) const {
        const std::string log = account_for_anonymising(config, units, unit_results, manifest);
        if (manifest.has_audit())
            publish_through(staging_directory(directory), directory / "audit.jsonl", log, "data.audit");
    }

    static void tell_of_cleaning(const ManifestSource& source) {
        for (const auto& [reason, documents] : source.cleaned.dropped) {
            monitoring::log_info("'{}': {} of {} documents are left out: {}", source.name, documents,
                                 source.cleaned.documents, reason);
        }
    }

    DataConfig config;
    std::filesystem::path directory;
    std::string config_sha256;
    std::vector<std::vector<InputFile>> inputs;  // by source
    std::vector<InputFile> evaluation;           // whose texts are not to be trained on
    std::vector<Unit> units;
    std::vector<PlannedShard> shards;  // empty until every unit is tokenized
    std::vector<ManifestSource> sources;
    std::string given_tokenizer;         // the bytes of a file that the run file names
    std::optional<Tokenizer> tokenizer;  // none until it is trained
    Wave wave = Wave::none;
    bool trains = false;             // a tokenizer
    TaskPool pool;                   // wave after wave
    std::size_t first_count = 0;     // the task of the first unit whose words are counted
    std::size_t first_unit = 0;      // of the first unit that is tokenized
    std::size_t first_range = 0;     // of the first range of duplicates
    std::uint64_t ranges = 0;        // of duplicates; 0: they stay
    std::size_t first_shard = 0;     // of the first shard
    std::vector<json> unit_results;  // without duplicates
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
    impl_->advance();  // the disk may have refused it
    return impl_->pool.hand_out();
}

void Preparation::complete(std::uint64_t id, const json& result) {
    const TaskPool::Task& task = impl_->pool.at(id);
    if (impl_->adopt_published() || task.state == TaskPool::State::done)
        return;  // done elsewhere, or given back and done twice
    if (result.contains("superseded")) return give_back(id);
    const std::string key = result_key(task.message.at("kind").get<std::string>());
    KIBAN_CHECK(key.empty() || (result.contains(key) && result.at(key) == task.message.at(key)),
                "the result of task {} is {}", id, result.dump());
    if (task.message.at("kind") == "train") impl_->tell_of_training(result);
    impl_->pool.set_done(id, result);
    impl_->advance();
}

void Preparation::give_back(std::uint64_t id) { impl_->pool.give_back(id); }

PrepareProgress Preparation::progress() const {
    PrepareProgress progress;
    for (const auto& files : impl_->inputs) {
        for (const InputFile& file : files) progress.input_bytes_total += file.bytes;
    }
    progress.tasks_total = impl_->pool.all().size();
    for (const TaskPool::Task& task : impl_->pool.all()) {
        if (task.state != TaskPool::State::done) continue;
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
    if (kind == "evaluation") return run_evaluation(task);
    if (kind == "count") return run_count(task);
    if (kind == "train") return run_train(task);
    if (kind == "tokenize") return run_tokenize(task);
    if (kind == "dedupe") return run_dedupe(task);
    if (kind == "band") return run_band(task);
    if (kind == "cluster") return run_cluster(task);
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
