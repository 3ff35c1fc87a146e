// SPDX-License-Identifier: Apache-2.0
// The corpus of a job, and what of it shapes the model.
#include <set>
#include <utility>

#include "data/forgotten.h"
#include "monitoring/error.h"
#include "worker/train/trainer.h"

namespace kiban::worker {

using coordinator::RunFile;

data::Corpus open_corpus(const coordinator::Job& job, const RunFile& run_file) {
    data::Manifest manifest = data::Manifest::load(job.manifest);
    if (const std::string digest = manifest.digest(); digest != job.manifest_digest) {
        throw DataError("corpus '{}': expected digest {}, found {}: it was prepared again while the run was starting",
                        job.manifest, job.manifest_digest, digest);
    }
    std::vector<double> weights;
    for (const data::SourceConfig& source : run_file.data.sources) weights.push_back(source.weight);
    std::set<data::DocumentId> forgotten;
    if (!run_file.data.forget.empty()) forgotten = data::read_forgotten(run_file.base / run_file.data.forget);
    return {std::move(manifest), weights, run_file.data.sequence_length, run_file.run.seed, {}, forgotten};
}

std::int64_t resolved_vocabulary(const coordinator::ModelConfig& model, std::uint32_t tokenizer_vocabulary) {
    if (model.vocabulary == 0) return tokenizer_vocabulary;
    if (model.vocabulary < tokenizer_vocabulary) {
        throw ConfigError("model.vocabulary: expected at least the tokenizer's {} tokens, found {}",
                          tokenizer_vocabulary, model.vocabulary);
    }
    return model.vocabulary;
}

}  // namespace kiban::worker
