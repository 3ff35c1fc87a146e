// SPDX-License-Identifier: Apache-2.0
// The process that the fault tests break: does one thing of monitoring/, prints what went wrong, exits as `kiban`
// would.
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>

#include <csignal>
#include <iostream>
#include <string>

#include "monitoring/curve.h"
#include "monitoring/error.h"
#include "monitoring/fault.h"
#include "monitoring/file.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

constexpr std::size_t kDiskBytes = 64 * 1024;

// A disk of 64 KiB in a mount namespace of this process alone, or, where mounting is not allowed, files of at most 64
// KiB.
void make_disk_small(const std::filesystem::path& directory) {
    if (::unshare(CLONE_NEWNS) == 0 && ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
        ::mount("kiban-test", directory.c_str(), "tmpfs", 0, "size=64k") == 0) {
        std::cout << "disk: tmpfs\n";
        return;
    }
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{kDiskBytes, kDiskBytes};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) throw InternalError("cannot limit the file size");
    std::cout << "disk: file size limit\n";
}

void limit_file_size(std::size_t bytes) {
    std::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{bytes, RLIM_INFINITY};
    if (::setrlimit(RLIMIT_FSIZE, &limit) != 0) throw InternalError("cannot limit the file size");
}

void publish_on_small_disk(const std::filesystem::path& directory) {
    make_disk_small(directory);
    publish(directory / "state", "old");
    try {
        publish(directory / "state", std::string(4 * kDiskBytes, 'x'));
    } catch (const IoError& error) {
        std::cout << "error: " << error.what() << '\n';
    }
    for (const auto& entry : std::filesystem::directory_iterator(directory)) {
        std::cout << "left: " << entry.path().filename().string() << " = " << read_text(entry.path()) << '\n';
    }
}

void preallocate_on_small_disk(const std::filesystem::path& directory) {
    make_disk_small(directory);
    File file = File::create(directory / "shard");
    file.preallocate(4 * kDiskBytes);
}

CurveRow row_of(std::uint64_t step) {
    CurveRow row;
    row.step = step;
    row.loss = 4.0 / static_cast<double>(step);
    row.attempt = 1;
    return row;
}

void append_rows(const std::filesystem::path& directory, std::uint64_t count) {
    CurveWriter writer(directory);
    writer.begin_attempt(1, 0);
    for (std::uint64_t step = 1; step <= count; ++step) {
        writer.append(row_of(step));
        if (step % 10 == 0) writer.sync();
    }
}

// The limit cuts an entry in two; then there is room again.
void append_through_a_full_disk(const std::filesystem::path& directory) {
    CurveWriter writer(directory);
    writer.append(row_of(1));
    limit_file_size(std::filesystem::file_size(directory / "curve.log") + 20);
    try {
        writer.append(row_of(2));
    } catch (const IoError& error) {
        std::cout << "error: " << error.what() << '\n';
    }
    limit_file_size(RLIM_INFINITY);
    writer.append(row_of(2));
    writer.append(row_of(3));
}

void pass_point(const std::string& point, int times) {
    for (int call = 1; call <= times; ++call) {
        fault_point(point, "the-file");
        std::cout << "passed " << call << std::endl;
    }
}

void run(const std::string& job, const std::string& first, const std::string& second) {
    if (job == "publish") return publish(first, second);
    if (job == "rename") return rename_durably(first, second);
    if (job == "publish-on-small-disk") return publish_on_small_disk(first);
    if (job == "preallocate-on-small-disk") return preallocate_on_small_disk(first);
    if (job == "append-rows") return append_rows(first, std::stoull(second));
    if (job == "append-through-a-full-disk") return append_through_a_full_disk(first);
    if (job == "point") return pass_point(first, std::stoi(second));
    throw UsageError("unknown job '{}'", job);
}

}  // namespace
}  // namespace kiban::monitoring

int main(int count, char** arguments) {
    const auto argument = [&](int index) { return index < count ? std::string(arguments[index]) : std::string(); };
    try {
        kiban::monitoring::run(argument(1), argument(2), argument(3));
        return kiban::kExitDone;
    } catch (const std::exception& error) {
        std::cout << error.what() << std::endl;
        return kiban::exit_code_of(error);
    }
}
