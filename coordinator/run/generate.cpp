// SPDX-License-Identifier: Apache-2.0
#include <cstdio>

#include "coordinator/launch/launcher.h"
#include "coordinator/run/good_checkpoint.h"
#include "coordinator/run/pretrain.h"
#include "coordinator/run/reading_mark.h"
#include "coordinator/run/run_directory.h"
#include "coordinator/run/tool.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

class GenerateMode : public AttemptMode {
  public:
    explicit GenerateMode(Job job) : job_(std::move(job)) {}

    void joined(CoordinatorChannel& channel) override { channel.send_to_all(job_); }
    void on_message(CoordinatorChannel&, int rank, const WorkerMessage&) override {
        throw InternalError("worker {} sent a message that has no place in generation", rank);
    }
    bool request_stop(CoordinatorChannel&, const std::string&) override { return false; }
    std::uint64_t progress() const override { return 0; }

  private:
    Job job_;
};

std::filesystem::path chosen_checkpoint(const std::filesystem::path& run_dir, const GenerateOptions& options) {
    if (!options.checkpoint.empty()) return std::filesystem::absolute(options.checkpoint);
    return good_checkpoint(run_dir, "generate from");
}

}  // namespace

int generate(const std::filesystem::path& given, const GenerateOptions& options) {
    const std::filesystem::path run_dir = std::filesystem::absolute(given);
    const RunDirectory directory(run_dir);
    if (!std::filesystem::exists(directory.run_file())) {
        throw ConfigError("'{}' is no run directory: '{}' is missing", run_dir.string(),
                          directory.run_file().filename().string());
    }
    worker_executable();
    RunFile run_file =
        parse_run_file(monitoring::read_text(directory.run_file()), run_dir, directory.run_file().string());
    run_file.launch.workers = 1;
    run_file.parallel = {};  // one worker holds all of it, however it was trained
    run_file.launch.launcher = "mpirun";
    const CorpusReference corpus = read_corpus_reference(directory);
    const Job job{.mode = "generate",
                  .run_file = to_toml(run_file),
                  .manifest = corpus.manifest.string(),
                  .manifest_digest = corpus.digest,
                  .checkpoint = chosen_checkpoint(run_dir, options).string(),
                  .options = {{"prompt", options.prompt},
                              {"max_tokens", options.max_tokens},
                              {"temperature", options.temperature},
                              {"top_k", options.top_k},
                              {"seed", options.seed}}};
    monitoring::start_log({.who = "generate", .file = {}, .to_stderr = false});  // standard output is for the text
    const ReadingMark mark(job.checkpoint);
    GenerateMode mode(job);
    const AttemptEnd end = run_tool("generate", run_dir, run_file.launch, mode);
    const Decision decision = decide_once(end);
    if (decision.kind != Decision::Kind::done) {
        std::fprintf(stderr, "kiban: %s\n", decision.reason.c_str());
        return decision.exit_code;
    }
    std::fputs((end.output + "\n").c_str(), stdout);
    return kExitDone;
}

}  // namespace kiban::coordinator
