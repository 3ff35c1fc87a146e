// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/submit.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>
#include <string_view>

#include "coordinator/launch/batch_script.h"
#include "coordinator/launch/launcher.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {

int most_nodes(const Submission& submission) {
    int nodes = submission.nodes;
    const auto take = [&nodes](std::string_view value) {
        value.remove_prefix(value.rfind('-') + 1);  // all of it where there is none
        std::from_chars(value.data(), value.data() + value.size(), nodes);
    };
    const auto& options = submission.sbatch_options;
    for (std::size_t i = 0; i < options.size(); ++i) {
        const std::string_view option = options[i];
        if (option == "--nodes" || option == "-N") {
            if (++i < options.size()) take(options[i]);
        } else if (option.starts_with("--nodes=")) {
            take(option.substr(std::strlen("--nodes=")));
        } else if (option.starts_with("-N")) {
            take(option.substr(2));
        }
    }
    return nodes;
}

std::vector<std::string> submit_arguments(const Submission& submission, const std::filesystem::path& script) {
    std::vector<std::string> arguments = {"sbatch", "--parsable", fmt::format("--job-name={}", submission.name),
                                          fmt::format("--nodes={}", submission.nodes),
                                          fmt::format("--ntasks={}", submission.workers)};
    if (submission.threads_per_worker != 0) {
        arguments.push_back(fmt::format("--cpus-per-task={}", submission.threads_per_worker));
    }
    arguments.push_back(fmt::format("--output={}", (submission.run_dir / "slurm-%j.out").string()));
    arguments.insert(arguments.end(), submission.sbatch_options.begin(), submission.sbatch_options.end());
    arguments.push_back(script.string());
    arguments.push_back(submission.run_file.string());
    for (const std::string& setting : submission.overrides) arguments.insert(arguments.end(), {"--set", setting});
    return arguments;
}

int submit(const Submission& submission) {
    const auto script = submission.run_dir / "kiban.sbatch";
    monitoring::make_directories(submission.run_dir);
    monitoring::publish(script, kBatchScript);
    std::vector<std::string> words = submit_arguments(submission, script);
    std::vector<char*> pointers;
    pointers.reserve(words.size() + 1);
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    const std::string kiban = this_executable().string();
    int report[2];
    if (::pipe2(report, O_CLOEXEC) != 0) throw IoError("cannot make a pipe: {}", std::strerror(errno));
    ::setenv("KIBAN", kiban.c_str(), /*overwrite=*/1);  // what the script execs
    const pid_t child = ::fork();
    if (child == 0) {
        ::execvp(pointers[0], pointers.data());
        const int code = errno;
        [[maybe_unused]] const ssize_t written = ::write(report[1], &code, sizeof code);
        ::_exit(127);
    }
    ::close(report[1]);
    int exec_error = 0;
    const bool failed = ::read(report[0], &exec_error, sizeof exec_error) == sizeof exec_error;
    ::close(report[0]);
    int status = 0;
    if (child > 0) ::waitpid(child, &status, 0);
    if (child < 0 || failed)
        throw ConfigError("cannot run sbatch: {}; is this a machine of a Slurm cluster?", std::strerror(exec_error));
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        throw ConfigError("sbatch refused the job (its exit code is {}); its message is above",
                          WIFEXITED(status) ? WEXITSTATUS(status) : -1);
    }
    return kExitDone;
}

}  // namespace kiban::coordinator
