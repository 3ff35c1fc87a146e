// SPDX-License-Identifier: Apache-2.0
// corpus_manifest_fuzz EXECUTIONS [SEED]: manifests of prepared corpora. Each is either refused by a DataError, or is
// the same after being written and read again, and names no token that its shards do not have.
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "data/manifest.h"
#include "monitoring/error.h"
#include "tests/support/fuzz.h"

namespace {

using namespace kiban;
using data::Manifest;
namespace fs = std::filesystem;

std::string corpus_of(const std::string& sources, const std::string& more = "") {
    return R"({"format":"kiban corpus","version":1,"tokenizer":"bytes","vocabulary":257,"inputs_sha256":"ab","shards":[)"
           R"({"file":"a.h5","tokens":100,"bytes":7,"sha256":"01"},{"file":"b.h5","tokens":50,"bytes":9,"sha256":"02"}],)"
           R"("sources":[)" +
           sources + "]" + more + "}";
}

constexpr const char* kSource =
    R"({"name":"x","id":"cd","documents":3,"input_bytes":500,"train":{"segments":[[0,0,90],[1,10,20]],"tokens":100},)"
    R"("holdout":{"segments":[[0,90,100]],"tokens":10}})";

std::vector<std::string> corpus() {
    std::string trained = corpus_of(kSource, R"(,"tokenizer_sha256":"ef","unicode":"14.0.0")");
    trained.replace(trained.find("\"version\":1"), 11, "\"version\":2");
    return {corpus_of(""),
            corpus_of(kSource),
            corpus_of(std::string(kSource) + "," + kSource),
            trained,
            "[]",
            "{}",
            corpus_of(R"({"name":"x","id":"cd","documents":-1,"input_bytes":5,"train":{"segments":[],"tokens":0},)"
                      R"("holdout":{"segments":[],"tokens":0}})"),
            corpus_of(R"({"name":"x","id":"cd","documents":1,"input_bytes":5,"train":{"segments":[[4294967296,0,9]],)"
                      R"("tokens":9},"holdout":{"segments":[],"tokens":0}})"),
            R"({"format":"kiban corpus","version":3})",
            R"({"format":4})"};
}

class Executor {
  public:
    Executor() : directory_(testing::fuzz_directory() / ("kiban-manifest-fuzz-" + std::to_string(::getpid()))) {
        fs::create_directories(directory_);
        std::ofstream(directory_ / "a.h5") << "1234567";
        std::ofstream(directory_ / "b.h5") << "123456789";
    }
    ~Executor() {
        std::error_code ignored;
        fs::remove_all(directory_, ignored);
    }
    Executor(const Executor&) = delete;
    Executor& operator=(const Executor&) = delete;

    bool execute(const std::string& text) const {
        try {
            const Manifest read = load(text);
            KIBAN_CHECK(load(read.to_json()).to_json() == read.to_json(), "another manifest came back");
            for (const data::ManifestSource& source : read.sources) {
                check(read, source.train);
                check(read, source.holdout);
            }
            return true;
        } catch (const DataError&) {
            return false;
        }
    }

  private:
    Manifest load(const std::string& text) const {
        std::ofstream(directory_ / "manifest.json", std::ios::binary) << text;
        return Manifest::load(directory_ / "manifest.json");
    }
    static void check(const Manifest& manifest, const data::Stream& stream) {
        __extension__ unsigned __int128 tokens = 0;
        for (const data::Segment& segment : stream.segments) {
            KIBAN_CHECK(segment.begin <= segment.end && segment.end <= manifest.shards.at(segment.shard).tokens,
                        "tokens {} to {} of shard {}", segment.begin, segment.end, segment.shard);
            tokens += segment.end - segment.begin;
        }
        KIBAN_CHECK(tokens == stream.tokens, "{} tokens", stream.tokens);
    }

    fs::path directory_;
};

}  // namespace

int main(int argc, char** argv) {
    const Executor executor;
    const testing::FuzzTarget target{
        .corpus = corpus(),
        .tokens = {"0",
                   "-1",
                   "1.5",
                   "100",
                   "4294967296",
                   "18446744073709551615",
                   "18446744073709551616",
                   "1e999",
                   "null",
                   "true",
                   "[]",
                   "{}",
                   "[0,0,0]",
                   "[1,0,50]",
                   "\"a.h5\"",
                   "\"..\"",
                   "\"/etc/passwd\"",
                   "\"shards\":",
                   "\"segments\":",
                   "\"tokens\":",
                   "\"version\":2",
                   "[",
                   "]",
                   "{",
                   "}",
                   ",",
                   ":",
                   "\"",
                   "\\u0000",
                   "\\ud800",
                   "\xC3\x28"},
        .good = 4,
        .execute = [&](const std::string& text) { return executor.execute(text); },
        .replayed = {"{\"format\":" + std::string(200000, '[') + std::string(200000, ']') + "}",
                     corpus_of(std::string(200000, '[') + std::string(200000, ']'))}};
    return testing::fuzz(target, argc, argv);
}
