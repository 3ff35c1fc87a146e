// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/launcher.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstring>
#include <deque>
#include <limits>
#include <sstream>
#include <thread>

#include "coordinator/launch/hosts.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

constexpr int kLastWaitSeconds = 3;  // for a process that was killed and that nobody asks about any more

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// srun does not end its step when it is killed outright, mpirun's ranks do when mpirun is gone.
int parent_death_signal(const std::string& program) { return program == "srun" ? SIGTERM : SIGKILL; }

struct ChildSetup {
    std::vector<char*> arguments;
    std::vector<char*> environment;
    int output = -1;
    int errors = -1;
    int report = -1;  // closed by a successful exec
    pid_t parent = 0;
    int death_signal = SIGKILL;
};

// Between fork and exec: async-signal-safe calls only.
[[noreturn]] void become(const ChildSetup& setup) {
    ::setpgid(0, 0);
    ::prctl(PR_SET_PDEATHSIG, setup.death_signal);
    if (::getppid() != setup.parent) ::_exit(127);  // the coordinator died in between
    for (const int signal : {SIGINT, SIGTERM, SIGUSR1, SIGUSR2, SIGHUP, SIGPIPE}) ::signal(signal, SIG_DFL);
    sigset_t none;
    ::sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int input = ::open("/dev/null", O_RDONLY);
    ::dup2(input, STDIN_FILENO);
    ::dup2(setup.output, STDOUT_FILENO);
    ::dup2(setup.errors, STDERR_FILENO);
    ::execvpe(setup.arguments[0], setup.arguments.data(), setup.environment.data());
    const int code = errno;
    [[maybe_unused]] const ssize_t written = ::write(setup.report, &code, sizeof code);
    ::_exit(127);
}

std::vector<char*> pointers_to(std::vector<std::string>& texts) {
    std::vector<char*> pointers;
    pointers.reserve(texts.size() + 1);
    for (std::string& text : texts) pointers.push_back(text.data());
    pointers.push_back(nullptr);
    return pointers;
}

std::optional<std::filesystem::path> slurm_configuration(const Environment& environment) {
    std::vector<std::filesystem::path> places = {"/etc/slurm/slurm.conf", "/run/slurm/conf/slurm.conf"};
    if (const auto named = environment.find("SLURM_CONF"); named != environment.end()) places = {named->second};
    for (const auto& place : places) {
        std::error_code unreadable;
        if (std::filesystem::exists(place, unreadable)) return place;
    }
    return std::nullopt;
}

// "h1:2,h3:1"; empty where no host is left out.
std::string hosts_left(const StepPlan& plan) {
    std::vector<std::string> hosts;
    if (plan.excluded_hosts.empty()) return "";
    for (const auto& [host, room] : plan.room) {
        if (!holds_host(plan.excluded_hosts, host)) hosts.push_back(fmt::format("{}:{}", host, room));
    }
    return fmt::format("{}", fmt::join(hosts, ","));
}

// As the launcher calls them.
std::string hosts_out(const StepPlan& plan) {
    std::vector<std::string> hosts;
    for (const auto& [host, room] : plan.room) {
        if (holds_host(plan.excluded_hosts, host)) hosts.push_back(host);
    }
    return fmt::format("{}", fmt::join(hosts, ","));
}

}  // namespace

LauncherKind choose_launcher(const std::string& configured, const Environment& environment) {
    const bool allocated = environment.count("SLURM_JOB_ID") != 0;
    if (configured == "mpirun" || (configured == "auto" && !allocated)) return LauncherKind::mpirun;
    if (configured != "srun" && configured != "auto") {
        throw ConfigError("launch.launcher: expected auto, mpirun or srun, found '{}'", configured);
    }
    if (!allocated) {
        throw ConfigError(
            "launch.launcher is 'srun', but this is no Slurm allocation (SLURM_JOB_ID is not set): "
            "submit the run with 'kiban submit RUN.toml'");
    }
    return LauncherKind::srun;
}

void refuse_login_node(const std::string& configured, const Environment& environment) {
    if (configured != "auto" || choose_launcher(configured, environment) != LauncherKind::mpirun) return;
    const auto srun = find_program("srun", environment);
    const auto configuration = slurm_configuration(environment);
    if (!srun || !configuration) return;
    throw ConfigError(
        "this machine belongs to a Slurm cluster ('{}', '{}') and this is no allocation of it: submit the run with "
        "'kiban submit RUN.toml', or set launch.launcher = 'mpirun' to train here",
        srun->string(), configuration->string());
}

std::vector<std::string> launch_arguments(const StepPlan& plan) {
    std::vector<std::string> arguments;
    if (plan.launcher == LauncherKind::mpirun) {
        arguments = {"mpirun"};
        if (plan.as_root) arguments.emplace_back("--allow-run-as-root");
        // Not bound: a worker's loader, writer and communication threads need somewhere to run, and two runs on one
        // machine must not share a core.
        for (const char* word : {"--oversubscribe", "--bind-to", "none", "--tag-output"}) arguments.emplace_back(word);
        arguments.insert(arguments.end(), {"-n", std::to_string(plan.workers)});
        if (const std::string hosts = hosts_left(plan); !hosts.empty())
            arguments.insert(arguments.end(), {"--host", hosts});
    } else {
        arguments = {"srun",
                     "--mpi=pmix",
                     fmt::format("--ntasks={}", plan.workers),
                     fmt::format("--cpus-per-task={}", plan.threads_per_worker),
                     "--kill-on-bad-exit=1",
                     "--label",
                     "--unbuffered"};
        if (const std::string hosts = hosts_out(plan); !hosts.empty()) arguments.push_back("--exclude=" + hosts);
    }
    arguments.insert(arguments.end(),
                     {plan.kiban.string(), "exec-worker", "--run-dir", plan.run_dir.string(), "--attempt",
                      std::to_string(plan.attempt), "--workers", std::to_string(plan.workers), "--threads",
                      std::to_string(plan.threads_per_worker)});
    return arguments;
}

std::filesystem::path this_executable() { return std::filesystem::read_symlink("/proc/self/exe"); }

std::filesystem::path worker_executable() {
    auto file = this_executable().parent_path() / "kiban-worker";
    if (::access(file.c_str(), X_OK) != 0) {
        throw ConfigError(
            "cannot start workers: '{}' is not an executable: {}; build or install kiban-worker beside kiban",
            file.string(), std::strerror(errno));
    }
    return file;
}

StepProcess::StepProcess(const std::vector<std::string>& arguments, const Environment& additions,
                         const std::filesystem::path& log_dir)
    : error_log_(log_dir / "launcher.err") {
    monitoring::make_directories(log_dir);
    const monitoring::File output = monitoring::File::open_append(log_dir / "launcher.out");
    const monitoring::File errors = monitoring::File::open_append(error_log_);
    Environment environment = current_environment();
    environment.insert(additions.begin(), additions.end());
    std::vector<std::string> variables;
    for (const auto& [name, value] : environment) variables.push_back(fmt::format("{}={}", name, value));
    std::vector<std::string> words = arguments;
    int report[2];
    if (::pipe2(report, O_CLOEXEC) != 0) throw IoError("cannot make a pipe: {}", std::strerror(errno));
    const ChildSetup setup{.arguments = pointers_to(words),
                           .environment = pointers_to(variables),
                           .output = output.descriptor(),
                           .errors = errors.descriptor(),
                           .report = report[1],
                           .parent = ::getpid(),
                           .death_signal = parent_death_signal(arguments.at(0))};
    pid_ = ::fork();
    if (pid_ == 0) become(setup);
    const int fork_error = errno;
    ::close(report[1]);
    int exec_error = 0;
    const bool failed = pid_ > 0 && ::read(report[0], &exec_error, sizeof exec_error) == sizeof exec_error;
    ::close(report[0]);
    if (pid_ < 0) throw IoError("cannot start '{}': {}", arguments[0], std::strerror(fork_error));
    if (failed) {
        ::waitpid(pid_, nullptr, 0);
        exit_code_ = 127;
        throw ConfigError("cannot start '{}': {}; is it installed and in PATH? ('kiban doctor' tells)", arguments[0],
                          std::strerror(exec_error));
    }
    ::setpgid(pid_, pid_);                                               // here too: whoever comes first
    descriptor_ = static_cast<int>(::syscall(SYS_pidfd_open, pid_, 0));  // glibc 2.36 declares it without C linkage
}

StepProcess::~StepProcess() {
    if (!exit_code()) stop(0, [left = kLastWaitSeconds]() mutable { return --left > 0; });
    if (descriptor_ >= 0) ::close(descriptor_);
}

std::optional<int> StepProcess::exit_code() {
    if (exit_code_) return exit_code_;
    int status = 0;
    if (::waitpid(pid_, &status, WNOHANG) == pid_) {
        exit_code_ = WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
    }
    return exit_code_;
}

bool StepProcess::wait(double seconds) {
    for (const double end = now() + seconds; !exit_code() && now() < end;) {
        pollfd ended{descriptor_, POLLIN, 0};
        const int left_ms = static_cast<int>((end - now()) * 1000) + 1;
        ::poll(&ended, 1, descriptor_ >= 0 ? left_ms : std::min(left_ms, 20));
    }
    return exit_code_.has_value();
}

bool StepProcess::wait(double seconds, const Meanwhile& meanwhile) {
    const double end = now() + seconds;
    do {
        if (wait(std::min(1.0, end - now()))) return true;
    } while (now() < end && (!meanwhile || meanwhile()));
    return false;
}

std::optional<int> StepProcess::stop(double grace_seconds, const Meanwhile& meanwhile) {
    if (exit_code()) return exit_code_;
    if (grace_seconds > 0) {
        ::kill(-pid_, SIGTERM);
        ::kill(-pid_, SIGCONT);  // a stopped process hears TERM only then
        if (wait(grace_seconds, meanwhile)) {
            ::kill(-pid_, SIGKILL);  // what it left in its group
            return exit_code_;
        }
    }
    ::kill(-pid_, SIGKILL);
    wait(std::numeric_limits<double>::infinity(), meanwhile);
    return exit_code_;
}

std::string StepProcess::last_error_lines(int lines) const {
    std::istringstream text(monitoring::read_text_if_exists(error_log_).value_or(""));
    std::deque<std::string> last;
    for (std::string line; std::getline(text, line);) {
        const bool is_ruler = line.find_first_not_of(" \t-") == std::string::npos;
        if (is_ruler || line.find("Z info [") != std::string::npos) continue;
        last.push_back(line);
        if (last.size() > static_cast<std::size_t>(lines)) last.pop_front();
    }
    return fmt::format("{}", fmt::join(last, "\n"));
}

}  // namespace kiban::coordinator
