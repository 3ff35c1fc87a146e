// SPDX-License-Identifier: Apache-2.0
#include "monitoring/fault.h"

#include <gtest/gtest.h>

#include <chrono>
#include <csignal>

#include "monitoring/exit_codes.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

Finished pass_point(const std::string& fault, const std::string& times = "3") {
    return run_child({"point", "here", times}, {{"KIBAN_FAULT", fault}});
}

TEST(Fault, WithoutTheVariableEveryPointIsPassed) {
    EXPECT_EQ(run_child({"point", "here", "2"}).output, "passed 1\npassed 2\n");
}

TEST(Fault, AnotherPointIsPassed) { EXPECT_EQ(pass_point("there=kill").output, "passed 1\npassed 2\npassed 3\n"); }

TEST(Fault, KillEndsTheProcessAtTheNamedCall) {
    const Finished first = pass_point("here=kill");
    EXPECT_EQ(first.signal, SIGKILL);
    EXPECT_EQ(first.output, "");
    const Finished third = pass_point("here=kill@3");
    EXPECT_EQ(third.signal, SIGKILL);
    EXPECT_EQ(third.output, "passed 1\npassed 2\n");
}

TEST(Fault, OfOneRankSparesTheOthersAndWhoHasNone) {
    const auto pass_as = [](const char* variable, const char* rank) {
        return run_child({"point", "here", "1"},
                         {{"KIBAN_FAULT", "here=kill"}, {"KIBAN_FAULT_RANK", "1"}, {variable, rank}})
            .signal;
    };
    for (const char* variable : {"OMPI_COMM_WORLD_RANK", "PMIX_RANK", "SLURM_PROCID"}) {
        EXPECT_EQ(pass_as(variable, "1"), SIGKILL) << variable;
        EXPECT_EQ(pass_as(variable, "0"), 0) << variable;
    }
    EXPECT_EQ(pass_as("NO_RANK", "1"), 0);
}

TEST(Fault, InjectedErrorsNameThePointAndTheFile) {
    const Finished full = pass_point("here=enospc");
    EXPECT_EQ(full.exit_code, kExitIo);
    EXPECT_EQ(full.output, "cannot do 'here' on 'the-file': No space left on device (injected)\n");
    const Finished broken = pass_point("there=kill;here=eio@2");
    EXPECT_EQ(broken.exit_code, kExitIo);
    EXPECT_EQ(broken.output, "passed 1\ncannot do 'here' on 'the-file': Input/output error (injected)\n");
}

TEST(Fault, StopHaltsTheProcessUntilItIsContinued) {
    const TempDirectory directory;
    Process child({KIBAN_MONITORING_CHILD, "point", "here", "2"}, {{"KIBAN_FAULT", "here=stop@2"}},
                  directory / "output");
    EXPECT_TRUE(child.stopped());
    EXPECT_EQ(slurp(directory / "output"), "passed 1\n");
    child.send(SIGCONT);
    EXPECT_EQ(child.wait().output, "passed 1\npassed 2\n");
}

TEST(Fault, DelayTakesASecond) {
    const auto start = std::chrono::steady_clock::now();
    EXPECT_EQ(pass_point("here=delay").exit_code, 0);
    EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(1));
    EXPECT_EQ(pass_point("here=delay2").exit_code, 0);
    EXPECT_GE(std::chrono::steady_clock::now() - start, std::chrono::seconds(3));
}

TEST(Fault, WithAMarkerFileOnlyTheFirstProcessIsBroken) {
    const TempDirectory directory;
    const std::map<std::string, std::string> environment{{"KIBAN_FAULT", "here=kill@2"},
                                                         {"KIBAN_FAULT_ONCE", directory / "broken"}};
    EXPECT_EQ(run_child({"point", "here", "3"}, environment).signal, SIGKILL);
    EXPECT_TRUE(std::filesystem::exists(directory / "broken"));
    EXPECT_EQ(run_child({"point", "here", "3"}, environment).output, "passed 1\npassed 2\npassed 3\n");
}

TEST(Fault, ADelayNeitherMakesTheMarkerFileNorIsSparedByIt) {
    const TempDirectory directory;
    const std::map<std::string, std::string> environment{{"KIBAN_FAULT", "here=delay@1;here=kill@2"},
                                                         {"KIBAN_FAULT_ONCE", directory / "broken"}};
    EXPECT_EQ(run_child({"point", "here", "3"}, environment).signal, SIGKILL);
    const auto begin = std::chrono::steady_clock::now();
    EXPECT_EQ(run_child({"point", "here", "3"}, environment).output, "passed 1\npassed 2\npassed 3\n");
    EXPECT_GE(std::chrono::steady_clock::now() - begin, std::chrono::seconds(1));
}

TEST(Fault, RefusesWhatItCannotUnderstand) {
    const std::map<std::string, std::string> complaint_of{
        {"here", "expected 'point=action', found 'here'"},
        {"here=explode", "expected kill, stop, hang, eio, enospc, edquot, delay, nan or spike, found 'explode'"},
        {"here=delay0", "expected kill, stop, hang, eio, enospc, edquot, delay, nan or spike, found 'delay0'"},
        {"here=kill@0", "expected a count of at least 1, found '0'"},
        {"here=kill@2x", "expected a count of at least 1, found '2x'"},
    };
    for (const auto& [fault, complaint] : complaint_of) {
        const Finished child = pass_point(fault);
        EXPECT_EQ(child.exit_code, kExitConfiguration) << fault;
        EXPECT_EQ(child.output, "KIBAN_FAULT: " + complaint + "\n");
    }
}

TEST(Fault, AValueIsChangedAtTheNamedCallAndPassesOtherActionsBy) {
    const auto values = [](const std::string& fault) {
        return run_child({"value", "here", "3"}, {{"KIBAN_FAULT", fault}}).output;
    };
    EXPECT_EQ(values("there=nan"), "2\n2\n2\n");
    EXPECT_EQ(values("here=nan@2"), "2\nnan\n2\n");
    EXPECT_EQ(values("here=spike@3"), "2\n2\n2e+06\n");
    EXPECT_EQ(values("here=kill"), "2\n2\n2\n") << "it is no point";
    EXPECT_EQ(pass_point("here=nan").output, "passed 1\npassed 2\npassed 3\n") << "it is no value";
}

}  // namespace
}  // namespace kiban::monitoring
