// SPDX-License-Identifier: Apache-2.0
// Launches that fail after a while: the preflight says which of the usual reasons it is.
#include "tests/integration/two_hosts.h"

namespace kiban::testing {
namespace {

class FailedLaunch : public TwoHosts {};

TEST_F(FailedLaunch, AHostThatDoesNotSeeTheDirectoryIsNamed) {
    const Ended ended =
        preflight(fmt::format("mount -t tmpfs none {}", (dir_ / "shared").string()), "--interface eth0");
    EXPECT_EQ(ended.exit_code, 78) << ended.output;
    EXPECT_TRUE(contains(ended.output, "MISSING  shared directory ")) << ended.output;
    EXPECT_TRUE(contains(ended.output, "host 'h2' does not see the run directory")) << ended.output;
}

TEST_F(FailedLaunch, AnInterfaceThatTheOtherHostDoesNotReachIsExplained) {
    const Ended ended = preflight("true", "--interface lo");
    EXPECT_EQ(ended.exit_code, 78) << ended.output;
    EXPECT_TRUE(contains(ended.output, "MISSING  interface ")) << ended.output;
    EXPECT_TRUE(contains(ended.output, "with --interface (launch.control_interface)")) << ended.output;
}

}  // namespace
}  // namespace kiban::testing
