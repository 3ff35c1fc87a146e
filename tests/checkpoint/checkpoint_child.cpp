// SPDX-License-Identifier: Apache-2.0
// A process that saves, to be killed or refused by the system: what happens to a dying process is tested on a process,
// not on a mock.
//
//   checkpoint_child save RUN STEP ATTEMPT WRITERS       one save and retention, as the coordinator does it
//   checkpoint_child save-beside RUN STEP ATTEMPT WRITERS   the same, shards by the background writer
//   checkpoint_child save-forever RUN STEP ATTEMPT       saves STEP, STEP + 1, ... until it is killed
//   checkpoint_child conduct RUN STEP ATTEMPT            the same by a coordinator and two writer processes, which
//   answer it; the step of each commit that it has heard of is a line in RUN/heard
//   checkpoint_child full-disk[-beside] RUN              runs the save into a disk that is full at each stage; prints
//   one line a stage
//   checkpoint_child size-limit[-beside] RUN             the same with a limit on the size of files
//
// Errors go to standard error as 'Type: message'; the exit code is that of the error.
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"

namespace kiban::checkpoint::testing {
namespace {

namespace fs = std::filesystem;

void save(const fs::path& run_dir, std::uint64_t step, std::uint32_t attempt, int writers, bool beside = false) {
    write_checkpoint({run_dir, step, attempt, writers, flat_layout, tiny_model(), beside});
    apply_retention(run_dir, 2);
}

// A writer process of its own: its report, or nothing when it dies, comes through the pipe.
int start_writer(const Save& save, const fs::path& staging, int rank) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) throw IoError("cannot make a pipe");
    const pid_t child = ::fork();
    if (child < 0) throw IoError("cannot start a writer");
    if (child > 0) {
        ::close(ends[1]);
        return ends[0];
    }
    ::close(ends[0]);
    try {
        const std::string text = to_json(write_shard_of(save, staging, rank)).dump();
        const ssize_t written = ::write(ends[1], text.data(), text.size());
        ::_exit(written == static_cast<ssize_t>(text.size()) ? 0 : 1);
    } catch (const std::exception&) {  // its directory was swept by a successor
        ::_exit(1);
    }
}

std::string read_all(int descriptor) {
    std::string text;
    char buffer[4096];
    for (ssize_t got = 1; got > 0;) {
        got = ::read(descriptor, buffer, sizeof buffer);
        if (got > 0) text.append(buffer, static_cast<std::size_t>(got));
    }
    ::close(descriptor);
    return text;
}

// As the coordinator does it: stage, wait for all reports, curve, commit, retention. A writer that died costs the save.
void conduct_save(const Save& save, monitoring::File& heard) {
    const fs::path staging = begin_checkpoint(save.run_dir, save.step, save.attempt, model_bytes(save.model));
    std::vector<int> pipes;
    for (int rank = 0; rank < save.writers; ++rank) pipes.push_back(start_writer(save, staging, rank));
    std::vector<ShardReport> reports;
    for (const int pipe : pipes) {
        const auto json = nlohmann::json::parse(read_all(pipe), nullptr, /*allow_exceptions=*/false);
        if (json.is_object()) reports.push_back(shard_report_from_json(json));
    }
    for (int rank = 0; rank < save.writers; ++rank) ::waitpid(-1, nullptr, 0);
    if (static_cast<int>(reports.size()) < save.writers) return abandon_checkpoint(staging);
    const auto curve = write_curve(staging, curve_rows(save.step + 1), save.step);
    commit_checkpoint(
        save.run_dir, staging, save.step, save.attempt, reports, to_json(state_of(save)), [] { return true; }, curve);
    const std::string line = std::to_string(save.step) + "\n";
    heard.append(std::as_bytes(std::span(line)));
    apply_retention(save.run_dir, 2);
}

// A disk that this process alone sees as almost full: a small tmpfs where one is wanted and mounting is allowed (as
// root, or in a user namespace), otherwise a limit on the size of files. Either way the refusal comes from the kernel.
class TightDisk {
  public:
    TightDisk(const fs::path& where, bool mounts) : where_(where) {
        fs::create_directories(where);
        mounted_ = mounts && may_mount() && ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                   ::mount("tmpfs", where.c_str(), "tmpfs", 0, "size=4m") == 0;
        std::signal(SIGXFSZ, SIG_IGN);
        std::printf("disk: %s\n", mounted_ ? "tmpfs" : "file size limit");
    }

    void leave(std::uint64_t bytes) {
        if (!mounted_) {
            const rlimit limit{bytes, RLIM_INFINITY};
            ::setrlimit(RLIMIT_FSIZE, &limit);
            return;
        }
        release();
        auto filler = monitoring::File::create(where_ / "filler");
        filler.preallocate(monitoring::free_bytes(where_) - bytes);
    }
    void release() {
        const rlimit limit{RLIM_INFINITY, RLIM_INFINITY};
        if (mounted_) {
            fs::remove(where_ / "filler");
        } else {
            ::setrlimit(RLIMIT_FSIZE, &limit);
        }
    }

  private:
    static bool may_mount() {
        const uid_t user = ::getuid();
        const gid_t group = ::getgid();
        if (::unshare(CLONE_NEWNS) == 0) return true;
        if (::unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0) return false;
        put_text("/proc/self/setgroups", "deny");
        put_text("/proc/self/uid_map", fmt::format("{} {} 1", user, user));
        put_text("/proc/self/gid_map", fmt::format("{} {} 1", group, group));
        return true;
    }

    fs::path where_;
    bool mounted_ = false;
};

void report_stage(const fs::path& run_dir, const char* stage, const std::function<void()>& action) {
    std::string outcome = "no error";
    try {
        action();
    } catch (const IoError& error) {
        outcome = std::string("IoError: ") + error.what();
    } catch (const std::exception& error) {
        outcome = std::string(type_name_of(error)) + ": " + error.what();
    }
    std::ranges::replace(outcome, '\n', ' ');  // one line a stage
    const auto newest = newest_checkpoint(run_dir);
    const bool sound = newest && verify_checkpoint(newest->directory).faults.empty();
    std::printf("%s: %s | newest %d %s\n", stage, outcome.c_str(), newest ? static_cast<int>(newest->step) : -1,
                sound ? "good" : "BAD");
}

void fill_the_disk(const fs::path& where, bool mounts, bool beside) {
    TightDisk disk(where, mounts);
    const fs::path run_dir = where / "run";
    write_checkpoint({run_dir, 1});
    const Save next{run_dir, 2,           1,
                    2,       flat_layout, {{{"large", "param"}, DType::f32, {200000}}},  // 800 kB in two shards
                    beside};

    const fs::path staging = begin_checkpoint(run_dir, 2, 1, 0);
    disk.leave(64 << 10);
    report_stage(run_dir, "preallocate", [&] { write_shards(next, staging); });
    std::printf("left behind: %zu\n", entries_in(staging));
    disk.leave(0);
    report_stage(run_dir, "header", [&] { write_shards(next, staging); });
    std::printf("left behind: %zu\n", entries_in(staging));
    disk.release();
    const auto reports = write_shards(next, staging);
    disk.leave(0);
    report_stage(run_dir, "manifest", [&] {
        commit_checkpoint(run_dir, staging, 2, 1, reports, to_json(state_of(next)), [] { return true; });
    });
    disk.release();
    report_stage(run_dir, "begin", [&] { begin_checkpoint(run_dir, 3, 1, 1ULL << 50); });
    abandon_checkpoint(staging);
    report_stage(run_dir, "after", [&] { write_checkpoint({run_dir, 3}); });
}

int run(int count, char** arguments) {
    const std::string mode = count > 1 ? arguments[1] : "";
    const auto number = [&](int i) { return std::strtoul(arguments[i], nullptr, 10); };
    if ((mode == "save" || mode == "save-beside") && count == 6) {
        save(arguments[2], number(3), static_cast<std::uint32_t>(number(4)), static_cast<int>(number(5)),
             mode == "save-beside");
    } else if (mode == "save-forever" && count == 5) {
        for (std::uint64_t step = number(3);; ++step)
            save(arguments[2], step, static_cast<std::uint32_t>(number(4)), 2);
    } else if ((mode == "full-disk" || mode == "full-disk-beside") && count == 3) {
        fill_the_disk(arguments[2], /*mounts=*/true, mode.ends_with("-beside"));
    } else if ((mode == "size-limit" || mode == "size-limit-beside") && count == 3) {
        fill_the_disk(arguments[2], /*mounts=*/false, mode.ends_with("-beside"));
    } else if (mode == "conduct" && count == 5) {
        sweep_staging(arguments[2]);
        auto heard = monitoring::File::open_append(fs::path(arguments[2]) / "heard");
        for (std::uint64_t step = number(3);; ++step)
            conduct_save({arguments[2], step, static_cast<std::uint32_t>(number(4)), 2, flat_layout, tiny_model()},
                         heard);
    } else {
        throw UsageError("checkpoint_child: unknown mode '{}'", mode);
    }
    return 0;
}

}  // namespace
}  // namespace kiban::checkpoint::testing

int main(int count, char** arguments) {
    try {
        return kiban::checkpoint::testing::run(count, arguments);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "%s: %s\n", kiban::type_name_of(error), error.what());
        return kiban::exit_code_of(error);
    }
}
