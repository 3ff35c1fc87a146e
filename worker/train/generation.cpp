// SPDX-License-Identifier: Apache-2.0
#include "worker/train/generation.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <utility>
#include <vector>

#include "coordinator/config/run_file.h"
#include "coordinator/job/inventory.h"
#include "data/manifest.h"
#include "data/tokenizer.h"
#include "monitoring/error.h"
#include "worker/model/initial_values.h"
#include "worker/model/transformer.h"
#include "worker/parallel/parallelize.h"
#include "worker/train/job_corpus.h"
#include "worker/train/loading.h"

namespace kiban::worker {
namespace {

std::vector<std::int64_t> tokens_of(const std::string& prompt, const data::Tokenizer& tokenizer) {
    std::vector<std::int64_t> tokens;
    for (const std::uint32_t id : tokenizer.encode(prompt)) tokens.push_back(id);
    if (tokens.empty()) tokens.push_back(tokenizer.end_of_document());
    return tokens;
}

// That of the corpus: the run file may name a file that is gone, or is to be trained.
data::Tokenizer tokenizer_of(const coordinator::Job& job, const coordinator::RunFile& run_file) {
    if (run_file.data.tokenizer == "bytes") return data::Tokenizer("bytes");
    const data::Manifest manifest = data::Manifest::load(job.manifest);
    if (const std::string digest = manifest.digest(); digest != job.manifest_digest) {
        throw DataError("corpus '{}': expected digest {}, found {}: it is not the one that the run was trained on",
                        job.manifest, job.manifest_digest, digest);
    }
    return manifest.load_tokenizer();
}

// Logits of the kth likeliest token: what lies below is out.
float threshold_of(std::span<const float> logits, std::int64_t top_k) {
    std::vector<float> sorted(logits.begin(), logits.end());
    const auto kth = sorted.begin() + (top_k - 1);
    std::nth_element(sorted.begin(), kth, sorted.end(), std::greater<>());
    return *kth;
}

}  // namespace

GenerationOptions GenerationOptions::of(const nlohmann::json& options) {
    GenerationOptions result;
    try {
        result.prompt = options.value("prompt", result.prompt);
        result.max_tokens = options.value("max_tokens", result.max_tokens);
        result.temperature = options.value("temperature", result.temperature);
        result.top_k = options.value("top_k", result.top_k);
        result.seed = options.value("seed", result.seed);
    } catch (const nlohmann::json::exception& error) {
        throw ConfigError("cannot understand the options of generation: {}", error.what());
    }
    if (result.max_tokens < 0) throw ConfigError("max_tokens: expected at least 0, found {}", result.max_tokens);
    if (!(result.temperature >= 0) || !std::isfinite(result.temperature)) {
        throw ConfigError("temperature: expected a number of at least 0, found {}", result.temperature);
    }
    if (result.top_k < 0) throw ConfigError("top_k: expected at least 0, found {}", result.top_k);
    return result;
}

std::string generate_text(const coordinator::Job& job) {
    const coordinator::RunFile run_file = coordinator::parse_run_file(job.run_file, {}, "run file of the job");
    const GenerationOptions options = GenerationOptions::of(job.options);
    const data::Tokenizer tokenizer = tokenizer_of(job, run_file);
    const std::int64_t rows_of_head = resolved_vocabulary(run_file.model, tokenizer.vocabulary());
    const std::int64_t context = run_file.data.sequence_length;
    Parameters parameters(coordinator::tensor_inventory(run_file.model, rows_of_head, context),
                          precision_of(run_file.train));
    Transformer model(run_file.model, rows_of_head, context, parameters);
    load_parameters(job.checkpoint, parameters);

    std::vector<std::int64_t> tokens = tokens_of(options.prompt, tokenizer);
    const std::size_t prompt_tokens = tokens.size();
    for (std::int64_t made = 0; made < options.max_tokens; ++made) {
        const std::size_t seen = std::min(tokens.size(), static_cast<std::size_t>(context));
        const std::span<const std::int64_t> inputs = std::span<const std::int64_t>(tokens).last(seen);
        const std::vector<float> logits = model.logits(inputs, 1, static_cast<std::int64_t>(seen));
        const auto last =
            std::span<const float>(logits).last(static_cast<std::size_t>(rows_of_head)).first(tokenizer.vocabulary());
        const double uniform = uniform_at(options.seed, static_cast<std::uint64_t>(made));
        tokens.push_back(sample_token(last, options.temperature, options.top_k, uniform));
        if (tokens.back() == tokenizer.end_of_document()) break;
    }
    return tokenizer.decode(std::span<const std::int64_t>(tokens).subspan(prompt_tokens));
}

std::int64_t sample_token(std::span<const float> logits, double temperature, std::int64_t top_k, double uniform) {
    KIBAN_CHECK(!logits.empty(), "sample a token from an empty vocabulary");
    const float highest = *std::max_element(logits.begin(), logits.end());
    if (!std::isfinite(highest)) throw InternalError("cannot sample a token: the highest logit is {}", highest);
    if (temperature == 0) return std::max_element(logits.begin(), logits.end()) - logits.begin();
    const bool all = top_k == 0 || top_k >= static_cast<std::int64_t>(logits.size());
    const float threshold = all ? -INFINITY : threshold_of(logits, top_k);
    std::vector<double> ends;  // of the intervals, in order of id
    double total = 0;
    for (const float logit : logits) {
        if (logit >= threshold) total += std::exp((static_cast<double>(logit) - highest) / temperature);
        ends.push_back(total);
    }
    const auto found = std::upper_bound(ends.begin(), ends.end(), uniform * total);
    // Rounding may put the last interval's end on the value itself.
    return found != ends.end() ? found - ends.begin()
                               : std::lower_bound(ends.begin(), ends.end(), total) - ends.begin();
}

double uniform_at(std::uint64_t seed, std::uint64_t index) {
    const auto low = [](std::uint64_t value) { return static_cast<std::uint32_t>(value); };
    const auto words = philox4x32({low(index), low(index >> 32), 0x67656e, 0}, {low(seed), low(seed >> 32)});
    const std::uint64_t bits = (static_cast<std::uint64_t>(words[0]) << 21) ^ (words[1] >> 11);
    return static_cast<double>(bits) * 0x1p-53;
}

}  // namespace kiban::worker
