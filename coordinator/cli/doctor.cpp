// SPDX-License-Identifier: Apache-2.0
// kiban doctor: what this machine has, what is missing, how fast its parts are; --preflight: the same of every node of
// an allocation.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <sstream>

#include "coordinator/cli/commands.h"
#include "coordinator/cli/readable.h"
#include "coordinator/job/cpus.h"
#include "coordinator/job/machine.h"
#include "coordinator/job/version.h"
#include "coordinator/launch/environment.h"
#include "coordinator/launch/launch_facts.h"
#include "coordinator/launch/launcher.h"
#include "coordinator/launch/program.h"
#include "coordinator/run/preflight.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

constexpr std::uint64_t kDiskBytes = 64u << 20;
constexpr std::uint64_t kCopyBytes = 48u << 20;
constexpr std::uint64_t kSmallSharedMemory =
    64u << 20;  // a container's default; Open MPI wants some for every pair of ranks

class Findings {
  public:
    void fact(const char* what, const std::string& text) { print("ok     ", what, text); }
    void warn(const char* what, const std::string& text) { print("note   ", what, text); }
    void missing(const char* what, const std::string& text) {
        print("MISSING", what, text);
        ++missing_;
    }
    int missing() const { return missing_; }

    void add(const Finding& finding) {
        switch (finding.kind) {
            case Finding::Kind::fine: return fact(finding.what.c_str(), finding.text);
            case Finding::Kind::note: return warn(finding.what.c_str(), finding.text);
            case Finding::Kind::missing: return missing(finding.what.c_str(), finding.text);
        }
    }

  private:
    static void print(const char* verdict, const char* what, const std::string& text) {
        fmt::print("{}  {:<16} {}\n", verdict, what, text);
        std::fflush(stdout);
    }
    int missing_ = 0;
};

std::string first_line(const std::string& text) { return text.substr(0, text.find('\n')); }

void look_at_processor(Findings& findings) {
    const Cpu cpu = cpu_of_this_machine();
    const char* vectors = cpu.avx512 ? "AVX-512" : cpu.avx2 ? "AVX2" : cpu.avx ? "AVX" : "no AVX";
    findings.fact("processor",
                  fmt::format("{}, {} family {} model {}, {}", cpu_name(), cpu.vendor, cpu.family, cpu.model, vectors));
    findings.fact("cores", fmt::format("{} usable", usable_cpus()));
    const Memory memory = memory_of_machine();
    findings.fact("memory",
                  fmt::format("{}, {} available", bytes_text(memory.total_bytes), bytes_text(memory.available_bytes)));
    if (const char* chosen = std::getenv("OPENBLAS_CORETYPE")) {
        findings.warn("BLAS kernels", fmt::format("OPENBLAS_CORETYPE={} is set in the environment and stays", chosen));
    } else if (const auto core_type = openblas_core_type(cpu)) {
        findings.fact("BLAS kernels",
                      fmt::format("workers get OPENBLAS_CORETYPE={}: OpenBLAS 0.3.21 would choose kernels without AVX",
                                  *core_type));
    } else {
        findings.fact("BLAS kernels", "OpenBLAS chooses well by itself");
    }
}

void look_at_worker(Findings& findings) {
    std::string worker;
    try {
        worker = worker_executable().string();
    } catch (const Error& error) {
        findings.missing("kiban-worker", error.what());
        return;
    }
    // The loader lists what it would load instead of running the program.
    const ProgramOutput libraries = run_program({worker}, {"LD_TRACE_LOADED_OBJECTS=1"});
    std::istringstream lines(libraries.text);
    std::string unresolved;
    std::string blas;
    int count = 0;
    for (std::string line; std::getline(lines, line); ++count) {
        if (line.find("not found") != std::string::npos) unresolved += " " + line.substr(line.find_first_not_of(" \t"));
        const std::size_t arrow = line.find("=> ");
        if (arrow != std::string::npos &&
            (line.find("libblas") != std::string::npos || line.find("libopenblas") != std::string::npos)) {
            blas = line.substr(arrow + 3, line.find(" (", arrow) - arrow - 3);
        }
    }
    if (libraries.exit_code != 0 || !unresolved.empty()) {
        findings.missing(
            "kiban-worker",
            fmt::format("{}: {}", worker, unresolved.empty() ? first_line(libraries.text) : "libraries" + unresolved));
        return;
    }
    findings.fact("kiban-worker", fmt::format("{}, its {} libraries are there", worker, count));
    if (blas.empty()) return;
    std::error_code error;
    const auto real = std::filesystem::canonical(blas, error);
    if (!error && real.string().find("openblas") != std::string::npos) {
        findings.fact("BLAS", real.string());
    } else {
        findings.warn("BLAS", fmt::format("{}: not OpenBLAS; the reference BLAS is about 30 times slower",
                                          error ? blas : real.string()));
    }
}

void look_at_launchers(Findings& findings) {
    const auto version_of = [](const char* program, const char* option) {
        const ProgramOutput output = run_program({program, option});
        return output.exit_code == 0 ? first_line(output.text) : "but it fails: " + first_line(output.text);
    };
    const auto mpirun = find_program("mpirun", current_environment());
    const auto srun = find_program("srun", current_environment());
    if (mpirun) findings.fact("mpirun", fmt::format("{}, {}", mpirun->string(), version_of("mpirun", "--version")));
    if (srun) findings.fact("srun", fmt::format("{}, {}", srun->string(), version_of("srun", "--version")));
    if (const char* job = std::getenv("SLURM_JOB_ID")) findings.fact("Slurm", fmt::format("inside job {}", job));
    if (!mpirun && srun) findings.warn("mpirun", "not in PATH: runs start inside Slurm jobs only");
    if (!mpirun && !srun) findings.missing("mpirun", "neither mpirun nor srun is in PATH: nothing can start workers");
}

void look_at_storage(Findings& findings, const std::filesystem::path& directory) {
    try {
        const double speed = durable_write_speed(directory, kDiskBytes);
        findings.fact("disk", fmt::format("{} a second written and fsynced in {} ({} free)",
                                          bytes_text(static_cast<std::uint64_t>(speed)), directory.string(),
                                          bytes_text(std::filesystem::space(directory).available)));
    } catch (const std::exception& error) {
        findings.missing("disk", error.what());
    }
    const auto shared = size_of_file_system("/dev/shm");
    if (!shared) {
        findings.missing("/dev/shm", "there is none: workers of one machine talk through it");
    } else if (*shared <= kSmallSharedMemory) {
        findings.warn("/dev/shm", fmt::format("{}: small; several workers may not fit", bytes_text(*shared)));
    } else {
        findings.fact("/dev/shm", bytes_text(*shared));
    }
}

void look_at_speed(Findings& findings) {
    const auto per_second = [](double speed) { return bytes_text(static_cast<std::uint64_t>(speed)) + " a second"; };
    const int cpus = usable_cpus();
    findings.fact("memory copy",
                  fmt::format("{} with one thread, {} with {}", per_second(memory_bandwidth(1, kCopyBytes)),
                              per_second(memory_bandwidth(std::min(cpus, 16), kCopyBytes)), std::min(cpus, 16)));
    const LoopbackResult loopback = try_loopback();
    if (loopback.fault.empty()) {
        findings.fact("loopback", fmt::format("127.0.0.1:{} took a connection", loopback.port));
    } else {
        findings.missing("loopback", loopback.fault);
    }
}

int verdict(const Findings& findings, const char* good) {
    if (findings.missing() == 0) {
        fmt::print("{}\n", good);
        return kExitDone;
    }
    fmt::print("missing things that a run needs: {}\n", findings.missing());
    return kExitConfiguration;
}

int preflight(const PreflightOptions& options) {
    const PreflightResult result = run_preflight(options);
    for (const PreflightRow& row : result.rows) {
        fmt::print("worker {:<3} on {}: memory {:.1f} GB/s, disk {:.2f} GB/s, link {:.2f} GB/s, {:.1f} ms a step, {}\n",
                   row.rank, row.host, row.memory_speed / 1e9, row.disk_speed / 1e9, row.link_speed / 1e9,
                   row.step_seconds * 1e3, row.kernels);
    }
    Findings findings;
    for (const Finding& finding : result.findings) findings.add(finding);
    return verdict(findings, "every node that was looked at is fit for a run");
}

int doctor(const std::filesystem::path& directory, const std::string& interface) {
    Findings findings;
    findings.fact("kiban", version());
    look_at_processor(findings);
    look_at_worker(findings);
    look_at_launchers(findings);
    for (const Finding& finding : explain(launch_facts(directory, interface, current_environment())))
        findings.add(finding);
    look_at_storage(findings, directory);
    look_at_speed(findings);
    return verdict(findings, "everything that a run needs is here");
}

}  // namespace

void add_doctor_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("doctor", "what this machine has, what is missing, how fast its parts are");
    auto options = std::make_shared<PreflightOptions>();
    auto all_nodes = std::make_shared<bool>(false);
    command->add_option("--dir", options->directory, "where runs will write")->capture_default_str();
    command->add_option("--interface", options->interface, "launch.control_interface of the runs")
        ->capture_default_str();
    CLI::Option* flag =
        command->add_flag("--preflight", *all_nodes, "looks at every node of the allocation, with workers");
    command->add_option("--workers", options->workers, "of the preflight; left out: those of the Slurm job, else 2")
        ->check(CLI::PositiveNumber)
        ->needs(flag);
    command->add_option("--launcher", options->launcher, "of the preflight: auto, srun or mpirun")
        ->capture_default_str()
        ->needs(flag);
    command->callback([options, all_nodes, &exit_code] {
        exit_code = *all_nodes ? preflight(*options) : doctor(options->directory, options->interface);
    });
}

}  // namespace kiban::coordinator
