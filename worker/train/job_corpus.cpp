// SPDX-License-Identifier: Apache-2.0
#include "worker/train/job_corpus.h"

#include <set>
#include <vector>

#include "coordinator/config/mixture.h"
#include "data/forgotten.h"
#include "monitoring/error.h"

namespace kiban::worker {

data::Corpus open_corpus(const coordinator::Job& job, const coordinator::RunFile& run_file) {
    data::Manifest manifest = data::Manifest::load(job.manifest);
    if (const std::string digest = manifest.digest(); digest != job.manifest_digest) {
        throw DataError("corpus '{}': expected digest {}, found {}: it was prepared again while the run was starting",
                        job.manifest, job.manifest_digest, digest);
    }
    std::set<data::DocumentId> forgotten;
    if (!run_file.data.forget.empty()) forgotten = data::read_forgotten(run_file.base / run_file.data.forget);
    return {std::move(manifest), coordinator::weights_of(run_file), run_file.data.sequence_length,
            run_file.run.seed,   coordinator::layout_of(run_file),  forgotten};
}

std::vector<data::MixtureSegment> mixture_of_job(const coordinator::Job& job, const coordinator::RunFile& run_file) {
    return job.options.contains("mixture") ? data::mixture_from_json(job.options.at("mixture"))
                                           : coordinator::mixture_of(nullptr, run_file);
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
