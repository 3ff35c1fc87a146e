// SPDX-License-Identifier: Apache-2.0
// Starts the MPI step (mpirun or srun) and ends it. The step never outlives the coordinator: parent-death signal, own
// process group.
//
// launch_arguments() is pure. A StepProcess belongs to the thread that made it (the parent-death signal is that
// thread's). Errors: ConfigError when the program cannot be started. Never a shell string: arguments go to exec as they
// are.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "coordinator/job/train_config.h"
#include "coordinator/launch/environment.h"

namespace kiban::coordinator {

enum class LauncherKind { mpirun, srun };

/// "auto" is srun inside a Slurm allocation, else mpirun. ConfigError: srun outside of an allocation (says how to
/// submit), an unknown name.
LauncherKind choose_launcher(const std::string& configured, const Environment& environment);

/// ConfigError when "auto" would start mpirun on a machine of a Slurm cluster outside of an allocation: it says how to
/// submit, and how to train there all the same. Such a machine has srun in PATH and a slurm.conf (SLURM_CONF, or where
/// Slurm looks for it).
void refuse_login_node(const std::string& configured, const Environment& environment);

struct StepPlan {
    LauncherKind launcher = LauncherKind::mpirun;
    int workers = 1;
    int threads_per_worker = 1;
    std::filesystem::path kiban;    // the executable that becomes kiban-worker (`kiban exec-worker`)
    std::filesystem::path run_dir;  // where the workers find the control channel
    std::uint32_t attempt = 0;
    bool as_root = false;
    std::set<std::string> excluded_hosts = {};  // left out, by whichever of their names
    std::map<std::string, int> room = {};       // workers by host (hosts.h): to leave one out
};

/// The command line of the launcher, first the program.
std::vector<std::string> launch_arguments(const StepPlan& plan);

/// `kiban` itself, and kiban-worker beside it. ConfigError when there is none.
std::filesystem::path this_executable();
std::filesystem::path worker_executable();

class StepProcess {
  public:
    /// stdout and stderr are appended to `log_dir`/launcher.out and launcher.err. `additions` are set where the
    /// environment has no such variable.
    StepProcess(const std::vector<std::string>& arguments, const Environment& additions,
                const std::filesystem::path& log_dir);
    ~StepProcess();  // ends it at once when it still runs, and waits some seconds for that
    StepProcess(const StepProcess&) = delete;
    StepProcess& operator=(const StepProcess&) = delete;

    pid_t pid() const { return pid_; }
    /// Readable when the process has ended: for poll(). -1 where the kernel has none.
    int descriptor() const { return descriptor_; }
    /// The exit code (128 + signal when a signal ended it) once it has ended.
    std::optional<int> exit_code();
    /// Asked each second of a wait: whether to wait on.
    using Meanwhile = std::function<bool()>;
    /// TERM to the group, KILL after `grace_seconds`, at once when `meanwhile` says no; returns the exit code after the
    /// confirmed end. nullopt when the kernel keeps it (it waits for a disk, say) and `meanwhile` says no a second
    /// time.
    std::optional<int> stop(double grace_seconds, const Meanwhile& meanwhile = {});
    /// The last lines of launcher.err that say something, for messages.
    std::string last_error_lines(int lines) const;

  private:
    bool wait(double seconds);
    bool wait(double seconds, const Meanwhile& meanwhile);

    pid_t pid_ = -1;
    int descriptor_ = -1;
    std::optional<int> exit_code_;
    std::filesystem::path error_log_;
};

}  // namespace kiban::coordinator
