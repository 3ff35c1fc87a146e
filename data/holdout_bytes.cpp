// SPDX-License-Identifier: Apache-2.0
#include "data/holdout_bytes.h"

#include <algorithm>
#include <vector>

#include "data/corpus.h"
#include "data/tokenizer.h"

namespace kiban::data {
namespace {

constexpr std::uint32_t kRowTokens = 1024;
constexpr std::uint64_t kMostRows = 1024;

}  // namespace

double holdout_bytes_per_token(const Manifest& manifest) {
    const bool any = std::any_of(manifest.sources.begin(), manifest.sources.end(),
                                 [](const ManifestSource& source) { return source.holdout.tokens > 1; });
    if (!any) return 0;
    const Corpus corpus(manifest, std::vector<double>(manifest.sources.size(), 1.0), kRowTokens, 0);
    const Tokenizer tokenizer = manifest.load_tokenizer();
    std::vector<std::int64_t> inputs(kRowTokens);
    std::vector<std::int64_t> targets(kRowTokens);
    double bytes = 0;
    double tokens = 0;
    for (std::uint64_t row = 0; row < std::min(corpus.holdout_rows(), kMostRows); ++row) {
        corpus.read_holdout({.first = row, .count = 1}, inputs, targets);
        const auto end = std::find(targets.begin(), targets.end(), kMasked);  // only the last row of a source has some
        const std::span predicted(targets.data(), static_cast<std::size_t>(end - targets.begin()));
        bytes += static_cast<double>(tokenizer.decode(predicted).size());
        tokens += static_cast<double>(predicted.size());
    }
    return tokens > 0 ? bytes / tokens : 0;
}

}  // namespace kiban::data
