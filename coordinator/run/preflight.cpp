// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/preflight.h"

#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <charconv>
#include <string_view>

#include "coordinator/config/run_file.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/run/policy.h"
#include "coordinator/run/tool.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;

// Large enough for every kernel that training uses, small enough for a fraction of a second.
constexpr const char* kSmallTraining = R"(
[run]
name = "preflight"
seed = 1
[data]
sequence_length = 64
[[data.sources]]
path = "none"
[model]
layout = "llama"
layers = 2
d_model = 192
heads = 4
[train]
batch_rows = 4
micro_batch_rows = 4
steps = 4
[train.schedule]
warmup_steps = 0
[launch]
threads_per_worker = 1
)";

class PreflightMode : public AttemptMode {
  public:
    explicit PreflightMode(Job job) : job_(std::move(job)) {}

    void joined(CoordinatorChannel& channel) override { channel.send_to_all(job_); }
    void on_message(CoordinatorChannel&, int rank, const WorkerMessage&) override {
        throw InternalError("worker {} sent a message that has no place in a preflight", rank);
    }
    bool request_stop(CoordinatorChannel&, const std::string&) override { return false; }
    std::uint64_t progress() const override { return 0; }

  private:
    Job job_;
};

// A file with a name and a content that no node can have seen before.
class Nonce {
  public:
    explicit Nonce(const fs::path& directory) {
        std::string name = (directory / ".kiban-preflight-XXXXXX").string();
        const int descriptor = ::mkstemp(name.data());
        if (descriptor < 0) throw IoError("cannot make a file in '{}'", directory.string());
        ::close(descriptor);
        file_ = name;
        text_ = fmt::format("{} of process {}", file_.filename().string(), ::getpid());
        monitoring::publish(file_, text_);
    }
    ~Nonce() {
        std::error_code ignored;
        fs::remove(file_, ignored);
    }
    Nonce(const Nonce&) = delete;
    Nonce& operator=(const Nonce&) = delete;

    const fs::path& file() const { return file_; }
    const std::string& text() const { return text_; }

  private:
    fs::path file_;
    std::string text_;
};

int number_in(const Environment& environment, const char* name) {
    const auto found = environment.find(name);
    int number = 0;
    if (found == environment.end()) return 0;
    const std::string& text = found->second;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
    return error == std::errc() && end == text.data() + text.size() ? number : 0;
}

LaunchConfig launch_of(const PreflightOptions& options, const Environment& environment) {
    LaunchConfig launch;
    launch.workers = options.workers;
    if (launch.workers == 0) launch.workers = number_in(environment, "SLURM_NTASKS");
    if (launch.workers == 0) launch.workers = 2;
    launch.threads_per_worker = options.threads_per_worker;
    launch.launcher = options.launcher;
    launch.control_interface = options.interface;
    return launch;
}

struct Explanation {
    std::string_view sign;  // in what was said
    const char* what;
    const char* text;
};

constexpr std::array kExplanations = {
    Explanation{"expected a world of", "PMI",
                "every process believes to be alone: the launcher and the MPI library share no PMI plug-in. With srun, "
                "'srun --mpi=list' must show pmix; otherwise use --launcher mpirun (launch.launcher)"},
    Explanation{"says the world has", "PMI",
                "the processes disagree about their number: the launcher and the MPI library share no PMI plug-in. Use "
                "--launcher mpirun (launch.launcher), or srun with pmix"},
    Explanation{"does not see the run directory", "shared directory",
                "the directory is on a file system of one node: name one that every node mounts"},
    Explanation{"cannot reach the coordinator", "interface",
                "workers cannot dial the coordinator: name an interface or address that every node reaches with "
                "--interface (launch.control_interface), such as eth0 or ib0"},
    Explanation{"did not start in time", "workers",
                "workers never came: the nodes are slow to start programs, or their own network cannot reach this one"},
    Explanation{"There are not enough slots", "slots",
                "mpirun counts fewer processors than workers: fewer workers, or more tasks in the allocation"},
    Explanation{"is not an executable", "kiban-worker",
                "kiban-worker must stand beside kiban on every node: install both on a file system that all mount"},
};

}  // namespace

Finding explain_launch_failure(const std::string& reason) {
    for (const Explanation& known : kExplanations) {
        if (reason.find(known.sign) == std::string::npos) continue;
        return {Finding::Kind::missing, known.what, fmt::format("{}\n{}", known.text, reason)};
    }
    return {Finding::Kind::missing, "workers", reason};
}

PreflightResult run_preflight(const PreflightOptions& options) {
    const Environment environment = current_environment();
    worker_executable();
    const LaunchConfig launch = launch_of(options, environment);
    choose_launcher(launch.launcher, environment);
    refuse_login_node(launch.launcher, environment);
    const fs::path directory = fs::absolute(options.directory).lexically_normal();
    const RunFile training = parse_run_file(kSmallTraining, directory, "the preflight's run file",
                                            {fmt::format("launch.threads_per_worker={}", options.threads_per_worker)});
    const Nonce nonce(directory);
    monitoring::start_log({.who = "preflight", .file = {}, .to_stderr = false});
    PreflightMode mode({.mode = "preflight",
                        .run_file = to_toml(training),
                        .manifest = "",
                        .manifest_digest = "",
                        .checkpoint = "",
                        .options = {{"nonce_file", nonce.file().string()}, {"directory", directory.string()}}});
    const AttemptEnd end = run_tool("preflight", directory, launch, mode);
    if (!end.finished) return {.findings = {explain_launch_failure(describe(end))}, .rows = {}};
    PreflightResult result{.findings = {}, .rows = preflight_rows_from_json(end.output)};
    result.findings = judge(result.rows, {.nonce = nonce.text(),
                                          .directory = directory.string(),
                                          .nodes = number_in(environment, "SLURM_JOB_NUM_NODES")});
    return result;
}

}  // namespace kiban::coordinator
