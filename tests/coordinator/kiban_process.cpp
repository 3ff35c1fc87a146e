// SPDX-License-Identifier: Apache-2.0
#include "tests/coordinator/kiban_process.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "monitoring/file.h"

namespace kiban::coordinator {

namespace fs = std::filesystem;

Result run(const Call& call) {
    const fs::path directory = fs::temp_directory_path() / fmt::format("kiban-cli-{}", ::getpid());
    fs::create_directories(directory);
    const fs::path out = call.stdout_path.empty() ? directory / "out" : fs::path(call.stdout_path);
    const pid_t child = ::fork();
    if (child == 0) {
        std::vector<std::string> words = {KIBAN_BIN_DIR "/kiban"};
        words.insert(words.end(), call.arguments.begin(), call.arguments.end());
        std::vector<char*> argv;
        for (std::string& word : words) argv.push_back(word.data());
        argv.push_back(nullptr);
        ::dup2(::open(out.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDOUT_FILENO);
        ::dup2(::open((directory / "err").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644), STDERR_FILENO);
        for (const std::string& setting : call.environment) ::putenv(const_cast<char*>(setting.c_str()));
        ::execv(argv[0], argv.data());
        ::_exit(126);
    }
    int status = 0;
    ::waitpid(child, &status, 0);
    Result result;
    result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    if (call.stdout_path.empty()) result.out = monitoring::read_text(out);
    result.err = monitoring::read_text(directory / "err");
    fs::remove_all(directory);
    return result;
}

Result kiban(const std::vector<std::string>& arguments) { return run({arguments, "", {}}); }

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

}  // namespace kiban::coordinator
