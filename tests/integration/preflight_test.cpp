// SPDX-License-Identifier: Apache-2.0
// kiban doctor --preflight with real workers: on this machine, and on two hosts of which one computes other bits.
#include "tests/integration/two_hosts.h"

namespace kiban::testing {
namespace {

class PreflightOf : public TwoHosts {};

TEST_F(PreflightOf, ThisMachineFindsEqualBitsAndLeavesNothingBehind) {
    const Ended ended = kiban({"doctor", "--preflight", "--dir", "shared", "--workers", "2", "--launcher", "mpirun"});
    EXPECT_EQ(ended.exit_code, 0) << ended.output;
    for (const char* line : {"ok       nodes            2 workers on 1: ", "every worker reads in ",
                             "every worker computes the same bits (", "every node that was looked at is fit for a run"})
        EXPECT_TRUE(contains(ended.output, line)) << line << "\n" << ended.output;
    EXPECT_TRUE(nothing_is_left());
}

// The second host's kiban-worker is another program: one that keeps to the instructions of an older processor.
TEST_F(PreflightOf, TwoHostsNamesBothWhereOneComputesOtherBits) {
    const std::string worker = KIBAN_BIN_DIR "/kiban-worker";
    std::ofstream(dir_ / "older") << "#!/bin/sh\nDNNL_MAX_CPU_ISA=SSE41 exec " << (dir_ / "real").string() << "\n";
    std::filesystem::permissions(dir_ / "older", std::filesystem::perms::owner_all);
    std::ofstream(dir_ / "h2.sh") << fmt::format(
        "set -e\ntouch {0}/real\nmount --bind {1} {0}/real\nmount --bind {0}/older {1}\n", dir_.string(), worker);
    const Ended ended = preflight(fmt::format("bash {}", (dir_ / "h2.sh").string()), "--interface eth0");
    EXPECT_EQ(ended.exit_code, 78) << ended.output;
    EXPECT_TRUE(contains(ended.output, "MISSING  training step    other bits on h1 (")) << ended.output;
    EXPECT_TRUE(contains(ended.output, "and no majority says which of them are right")) << ended.output;
    EXPECT_TRUE(contains(ended.output, "ok       shared directory ")) << ended.output;
    EXPECT_TRUE(contains(ended.output, "2 workers on 2: h1, h2")) << ended.output;
    EXPECT_TRUE(nothing_is_left());
}

}  // namespace
}  // namespace kiban::testing
