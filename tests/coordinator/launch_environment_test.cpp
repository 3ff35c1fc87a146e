// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "coordinator/launch/environment.h"

namespace kiban::coordinator {
namespace {

Cpu cpu(const char* vendor, int family, int model, const char* features) {
    const std::string level = features;
    return {.vendor = vendor,
            .family = family,
            .model = model,
            .avx = level != "sse",
            .avx2 = level == "avx2" || level == "avx512",
            .avx512 = level == "avx512"};
}

struct Case {
    const char* name;
    Cpu cpu;
    std::optional<std::string> core_type;
};

TEST(OpenBlasCoreType, IsSetOnlyWhereOpenBlas0321ChoosesPentium4Kernels) {
    const std::vector<Case> cases = {
        {"Skylake-X", cpu("GenuineIntel", 6, 85, "avx512"), std::nullopt},
        {"Ice Lake server", cpu("GenuineIntel", 6, 106, "avx512"), std::nullopt},
        {"Sapphire Rapids", cpu("GenuineIntel", 6, 143, "avx512"), std::nullopt},
        {"Granite Rapids", cpu("GenuineIntel", 6, 173, "avx512"),
         std::nullopt},  // unknown to it, but it goes by features
        {"Meteor Lake", cpu("GenuineIntel", 6, 170, "avx2"), std::nullopt},
        {"Emerald Rapids", cpu("GenuineIntel", 6, 207, "avx512"), "SKYLAKEX"},
        {"Emerald Rapids, AVX-512 hidden by the hypervisor", cpu("GenuineIntel", 6, 207, "avx2"), "HASWELL"},
        {"Emerald Rapids, AVX2 hidden", cpu("GenuineIntel", 6, 207, "avx"), "SANDYBRIDGE"},
        {"Emerald Rapids, all hidden", cpu("GenuineIntel", 6, 207, "sse"), std::nullopt},
        {"Raptor Lake", cpu("GenuineIntel", 6, 183, "avx2"), "HASWELL"},
        {"Arrow Lake", cpu("GenuineIntel", 6, 198, "avx2"), "HASWELL"},
        {"first model of the hole", cpu("GenuineIntel", 6, 0xB0, "avx2"), "HASWELL"},
        {"last model before it", cpu("GenuineIntel", 6, 0xAF, "avx2"), std::nullopt},
        {"Pentium 4", cpu("GenuineIntel", 15, 4, "sse"), std::nullopt},
        {"Zen 3 and 4", cpu("AuthenticAMD", 25, 17, "avx512"), std::nullopt},
        {"Zen 5", cpu("AuthenticAMD", 26, 2, "avx512"), std::nullopt},
        {"unknown vendor", cpu("", 0, 0, "sse"), std::nullopt},
    };
    for (const Case& item : cases) EXPECT_EQ(openblas_core_type(item.cpu), item.core_type) << item.name;
}

TEST(CpuOfThisMachine, AgreesWithTheKernelsView) {
    std::ifstream file("/proc/cpuinfo");
    std::map<std::string, std::string> fields;
    for (std::string line; std::getline(file, line) && !line.empty();) {
        const auto colon = line.find(':');
        const auto end = line.find_last_not_of("\t ", colon - 1);
        fields[line.substr(0, end + 1)] = colon + 2 <= line.size() ? line.substr(colon + 2) : "";
    }
    const Cpu found = cpu_of_this_machine();
    EXPECT_EQ(found.vendor, fields["vendor_id"]);
    EXPECT_EQ(std::to_string(found.family), fields["cpu family"]);
    EXPECT_EQ(std::to_string(found.model), fields["model"]);
    const std::string flags = " " + fields["flags"] + " ";
    EXPECT_EQ(found.avx, flags.find(" avx ") != std::string::npos);
    EXPECT_EQ(found.avx2, flags.find(" avx2 ") != std::string::npos);
    EXPECT_EQ(found.avx512,
              flags.find(" avx512f ") != std::string::npos && flags.find(" avx512vl ") != std::string::npos);
}

TEST(WorkerEnvironment, SetsThreadsBlasAllocatorAndMpi) {
    const Environment set = worker_environment(cpu("GenuineIntel", 6, 207, "avx512"), 3, {});
    EXPECT_EQ(set.at("OMP_NUM_THREADS"), "3");
    EXPECT_EQ(set.at("OPENBLAS_CORETYPE"), "SKYLAKEX");
    EXPECT_EQ(set.at("OMP_WAIT_POLICY"), "passive");
    EXPECT_EQ(set.at("OMPI_MCA_mpi_yield_when_idle"), "1");
    EXPECT_EQ(set.at("OMPI_MCA_btl_vader_single_copy_mechanism"), "none");
    EXPECT_EQ(set.at("MALLOC_MMAP_MAX_"), "0");
}

TEST(WorkerEnvironment, LeavesWhatTheUserHasSetExceptTheThreadCount) {
    const Environment user = {
        {"OPENBLAS_CORETYPE", "HASWELL"}, {"OMP_WAIT_POLICY", "active"}, {"OMP_NUM_THREADS", "9"}};
    const Environment set = worker_environment(cpu("GenuineIntel", 6, 207, "avx512"), 3, user);
    EXPECT_EQ(set.count("OPENBLAS_CORETYPE"), 0u);
    EXPECT_EQ(set.count("OMP_WAIT_POLICY"), 0u);
    EXPECT_EQ(set.at("OMP_NUM_THREADS"), "3");
}

TEST(LauncherEnvironment, KeepsOpenMpiOnLoopbackOnOneMachineOnly) {
    EXPECT_EQ(launcher_environment(true).at("OMPI_MCA_btl_tcp_if_include"), "lo");
    EXPECT_EQ(launcher_environment(true).at("OMPI_MCA_oob_tcp_if_include"), "lo");
    EXPECT_TRUE(launcher_environment(false).empty());
}

TEST(SlurmJob, OfAnArrayIsTheTaskAlone) {
    EXPECT_EQ(slurm_job({}), "");
    EXPECT_EQ(slurm_job({{"SLURM_JOB_ID", "7"}}), "7");
    EXPECT_EQ(slurm_job({{"SLURM_JOB_ID", "7"}, {"SLURM_ARRAY_JOB_ID", "7"}, {"SLURM_ARRAY_TASK_ID", "3"}}), "7_3");
    EXPECT_EQ(slurm_job({{"SLURM_JOB_ID", "9"}, {"SLURM_ARRAY_JOB_ID", "7"}, {"SLURM_ARRAY_TASK_ID", "0"}}), "7_0");
}

TEST(FindProgram, LooksWhereAShellWould) {
    EXPECT_TRUE(find_program("sh", {}).has_value());
    EXPECT_TRUE(find_program("sh", {{"PATH", "/nowhere:/bin"}}).has_value());
    EXPECT_FALSE(find_program("sh", {{"PATH", "/nowhere"}}).has_value());
    EXPECT_FALSE(find_program("no-such-program-anywhere", {}).has_value());
}

}  // namespace
}  // namespace kiban::coordinator
