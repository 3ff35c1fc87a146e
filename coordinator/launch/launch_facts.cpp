// SPDX-License-Identifier: Apache-2.0
#include "coordinator/launch/launch_facts.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

#include "coordinator/launch/program.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using Kind = Finding::Kind;
constexpr double kClockSeconds = 2;

// linux/magic.h names them; only one node sees those that are marked.
struct KnownFileSystem {
    unsigned long magic;
    const char* name;
    bool of_one_node;
};
constexpr std::array<KnownFileSystem, 12> kFileSystems = {{{0xEF53, "ext4", true},
                                                           {0x58465342, "xfs", true},
                                                           {0x9123683E, "btrfs", true},
                                                           {0x01021994, "tmpfs", true},
                                                           {0x794C7630, "overlay", true},
                                                           {0x2FC12FC1, "zfs", true},
                                                           {0x6969, "nfs", false},
                                                           {0x0BD00BD0, "lustre", false},
                                                           {0x47504653, "gpfs", false},
                                                           {0x19830326, "beegfs", false},
                                                           {0x00C36400, "ceph", false},
                                                           {0xFE534D42, "smb", false}}};

std::string file_system_of(const fs::path& directory) {
    struct statfs info {};
    if (::statfs(directory.c_str(), &info) != 0) return "";
    const auto magic = static_cast<unsigned long>(info.f_type) & 0xFFFFFFFFUL;
    for (const KnownFileSystem& known : kFileSystems) {
        if (known.magic == magic) return known.name;
    }
    return fmt::format("type {:#x}", magic);
}

bool is_of_one_node(const std::string& file_system) {
    return std::ranges::any_of(
        kFileSystems, [&](const KnownFileSystem& known) { return known.name == file_system && known.of_one_node; });
}

// A file server stamps what is written with its own time.
std::optional<double> clock_of(const fs::path& directory) {
    std::string name = (directory / ".kiban-clock-XXXXXX").string();
    const int descriptor = ::mkstemp(name.data());
    if (descriptor < 0) return std::nullopt;
    ::unlink(name.c_str());
    struct stat written {};
    timespec now{};
    const bool known = ::write(descriptor, "x", 1) == 1 && ::fsync(descriptor) == 0 &&
                       ::fstat(descriptor, &written) == 0 && ::clock_gettime(CLOCK_REALTIME, &now) == 0;
    ::close(descriptor);
    if (!known) return std::nullopt;
    const auto seconds = [](const timespec& time) {
        return static_cast<double>(time.tv_sec) + static_cast<double>(time.tv_nsec) * 1e-9;
    };
    return seconds(written.st_mtim) - seconds(now);
}

std::vector<std::string> interfaces_here() {
    std::vector<std::string> found;
    ifaddrs* list = nullptr;
    if (::getifaddrs(&list) != 0) return found;
    for (const ifaddrs* entry = list; entry != nullptr; entry = entry->ifa_next) {
        if (entry->ifa_addr == nullptr || entry->ifa_addr->sa_family != AF_INET || (entry->ifa_flags & IFF_UP) == 0)
            continue;
        sockaddr_in address{};
        std::memcpy(&address, entry->ifa_addr, sizeof address);
        std::array<char, INET_ADDRSTRLEN> text{};
        ::inet_ntop(AF_INET, &address.sin_addr, text.data(), text.size());
        found.push_back(fmt::format("{} {}", entry->ifa_name, text.data()));
    }
    ::freeifaddrs(list);
    return found;
}

std::string value_of(const Environment& environment, const char* name) {
    const auto found = environment.find(name);
    return found == environment.end() ? "" : found->second;
}

bool is_here(const LaunchFacts& facts) {
    if (facts.interface == "*" || facts.interface == "0.0.0.0" || facts.interface.starts_with("127.")) return true;
    return std::ranges::any_of(facts.interfaces, [&](const std::string& known) {
        return known.starts_with(facts.interface + " ") || known.ends_with(" " + facts.interface);
    });
}

Finding of_pmi(const LaunchFacts& facts) {
    if (!facts.has_srun)
        return {Kind::fine, "PMI", "no srun here: mpirun starts the workers and introduces them itself"};
    if (facts.pmi_plugins.empty()) {
        return {Kind::note, "PMI",
                "'srun --mpi=list' does not answer: is this machine configured for the cluster (SLURM_CONF)?"};
    }
    if (facts.pmi_plugins.find("pmix") != std::string::npos)
        return {Kind::fine, "PMI", fmt::format("srun has pmix ({})", facts.pmi_plugins)};
    return {facts.has_mpirun ? Kind::note : Kind::missing, "PMI",
            fmt::format("srun has no pmix (it has {}): each of its processes would train alone; {}", facts.pmi_plugins,
                        facts.has_mpirun ? "start with launch.launcher = \"mpirun\""
                                         : "install the pmix plug-in of Slurm, or Open MPI's mpirun")};
}

Finding of_start(const LaunchFacts& facts) {
    if (!facts.open_mpi_rank.empty()) {
        return {
            Kind::missing, "started by",
            fmt::format("mpirun, as one of {} processes: each would be a coordinator; start kiban by itself, it starts "
                        "the workers",
                        facts.open_mpi_rank)};
    }
    if (facts.in_step) {
        return {
            Kind::note, "started by",
            "srun, inside a step of the job: the workers' step would wait for its processors; the batch script execs "
            "kiban without srun (slurm/single_node.sbatch)"};
    }
    return {Kind::fine, "started by", "a shell or a batch script"};
}

Finding of_interface(const LaunchFacts& facts) {
    const std::string there = fmt::format("{}", fmt::join(facts.interfaces, ", "));
    if (!is_here(facts)) {
        return {
            Kind::missing, "interface",
            fmt::format("launch.control_interface '{}' is none of this machine: it has {}", facts.interface, there)};
    }
    if (const std::string fault = fault_of_interface(facts.interface, facts.nodes); !fault.empty())
        return {Kind::missing, "interface", fmt::format("{}, of {}", fault, there)};
    return {Kind::fine, "interface", fmt::format("{} for the control channel, of {}", facts.interface, there)};
}

Finding of_directory(const LaunchFacts& facts) {
    const std::string where = fmt::format("{} is on {}", facts.directory, facts.file_system);
    if (facts.nodes > 1 && is_of_one_node(facts.file_system)) {
        return {Kind::note, "shared directory",
                fmt::format("{}, which is as a rule a disk of one node, and this job has {}: kiban doctor --preflight "
                            "tells",
                            where, facts.nodes)};
    }
    return {Kind::fine, "shared directory", where};
}

Finding of_clock(const LaunchFacts& facts) {
    if (!facts.file_clock_seconds) return {Kind::note, "clock", "cannot be compared with that of the directory"};
    const double skew = *facts.file_clock_seconds;
    if (std::abs(skew) <= kClockSeconds)
        return {Kind::fine, "clock", fmt::format("that of the directory differs by {:+.3f} s", skew)};
    return {
        Kind::note, "clock",
        fmt::format("that of the directory differs by {:+.1f} s: no decision depends on it, but times in logs and in "
                    "Prometheus do; is NTP running on both?",
                    skew)};
}

}  // namespace

std::string fault_of_interface(const std::string& interface, int nodes) {
    if (nodes <= 1 || !is_loopback(interface)) return "";
    return fmt::format(
        "launch.control_interface '{}' reaches no other node, and this job has {}: name one that all share", interface,
        nodes);
}

int nodes_of_job(const Environment& environment) {
    return std::max(1, std::atoi(value_of(environment, "SLURM_JOB_NUM_NODES").c_str()));
}

LaunchFacts launch_facts(const fs::path& directory, const std::string& interface, const Environment& environment) {
    LaunchFacts facts;
    facts.has_srun = find_program("srun", environment).has_value();
    facts.has_mpirun = find_program("mpirun", environment).has_value();
    if (facts.has_srun) {
        const ProgramOutput list = run_program({"srun", "--mpi=list"});
        if (list.exit_code == 0) facts.pmi_plugins = list.text;
        std::ranges::replace(facts.pmi_plugins, '\n', ' ');
    }
    facts.nodes = nodes_of_job(environment);
    const std::string step = value_of(environment, "SLURM_STEP_ID");
    facts.in_step = !step.empty() && !value_of(environment, "SLURM_PROCID").empty() && step != "4294967291";  // batch
    facts.open_mpi_rank = value_of(environment, "OMPI_COMM_WORLD_SIZE");
    facts.interface = interface;
    facts.interfaces = interfaces_here();
    facts.directory = fs::absolute(directory).lexically_normal().string();
    facts.file_system = file_system_of(directory);
    facts.file_clock_seconds = clock_of(directory);
    return facts;
}

std::vector<Finding> explain(const LaunchFacts& facts) {
    return {of_pmi(facts), of_start(facts), of_interface(facts), of_directory(facts), of_clock(facts)};
}

}  // namespace kiban::coordinator
