// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/run_tokenizer.h"

#include <vector>

#include "coordinator/run/run_directory.h"
#include "data/digest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

std::vector<fs::path> places_of(const fs::path& run_dir, const RunFile& run_file) {
    std::vector<fs::path> places;
    const RunDirectory directory(run_dir);
    if (fs::exists(directory.corpus()))
        places.push_back(read_corpus_reference(directory).manifest.parent_path() /
                         data::Tokenizer::kept_as(run_file.data.tokenizer));
    if (data::Tokenizer::is_file(run_file.data.tokenizer)) places.push_back(run_file.base / run_file.data.tokenizer);
    return places;
}

}  // namespace

RunTokenizer tokenizer_of_run(const fs::path& run_dir, const RunFile& run_file, const std::string& sha256) {
    if (run_file.data.tokenizer == "bytes") return {data::Tokenizer("bytes"), ""};
    std::string looked_at;
    for (const fs::path& place : places_of(run_dir, run_file)) {
        auto bytes = monitoring::read_text_if_exists(place);
        const std::string found = bytes ? "digest " + data::sha256(*bytes) : "nothing";
        if (bytes && data::sha256(*bytes) == sha256) {
            const bool file = data::Tokenizer::is_file(run_file.data.tokenizer);
            return {data::Tokenizer::from_file(place, file ? "" : run_file.data.tokenizer), std::move(*bytes)};
        }
        looked_at += fmt::format("\n  '{}': {}", place.string(), found);
    }
    throw ConfigError("the tokenizer '{}' of '{}' is gone: expected a {} with digest {}, found{}{}",
                      run_file.data.tokenizer, run_dir.string(), data::Tokenizer::kept_as(run_file.data.tokenizer),
                      sha256, looked_at, looked_at.empty() ? " no corpus" : "");
}

}  // namespace kiban::coordinator
