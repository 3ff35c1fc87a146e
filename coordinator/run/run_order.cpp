// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/run_order.h"

#include "checkpoint/reader.h"
#include "coordinator/config/mixture.h"
#include "coordinator/run/good_checkpoint.h"
#include "coordinator/run/history.h"
#include "coordinator/run/journal.h"
#include "data/forgotten.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {

std::optional<RunFile> run_file_of(const RunDirectory& directory) {
    const auto text = monitoring::read_text_if_exists(directory.run_file());
    if (!text) return std::nullopt;
    return parse_saved_run_file(*text, directory.root(), directory.run_file().string());
}

std::optional<checkpoint::RunState> newest_state(const RunDirectory& directory) {
    const auto good = good_checkpoints(directory.root());
    if (good.empty()) return std::nullopt;
    return checkpoint::run_state_from_json(checkpoint::CheckpointReader(good.front().directory).state());
}

std::vector<data::MixtureSegment> mixture_of_run(const RunDirectory& directory, const RunFile& run_file) {
    if (auto recorded = recorded_mixture(read_journal(directory.journal())); !recorded.empty()) return recorded;
    const auto saved = newest_state(directory);
    if (saved && !saved->mixture.empty()) return saved->mixture;
    return {{0, weights_of(run_file)}};  // it could not change before
}

std::set<data::DocumentId> forgotten_by(const RunDirectory& directory) {
    if (!std::filesystem::exists(directory.forgotten())) return {};
    return data::read_forgotten(directory.forgotten());
}

data::Corpus corpus_of_run(const RunDirectory& directory, const RunFile& run_file) {
    const CorpusReference reference = read_corpus_reference(directory);
    data::Manifest manifest = data::Manifest::load(reference.manifest);
    if (const std::string digest = manifest.digest(); digest != reference.digest) {
        throw DataError("the corpus of '{}' was changed: expected the manifest with digest {}, found {}",
                        directory.root().string(), reference.digest, digest);
    }
    data::Corpus corpus(std::move(manifest), weights_of(run_file), run_file.data.sequence_length, run_file.run.seed,
                        layout_of(run_file), forgotten_by(directory));
    corpus.mix(mixture_of_run(directory, run_file));
    return corpus;
}

}  // namespace kiban::coordinator
