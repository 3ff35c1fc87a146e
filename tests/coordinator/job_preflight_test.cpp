// SPDX-License-Identifier: Apache-2.0
// What the preflight makes of the workers' answers: the node that is at fault is named, and why.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include "coordinator/job/preflight.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

using Kind = Finding::Kind;

// Four workers on four equal nodes.
std::vector<PreflightRow> four() {
    std::vector<PreflightRow> rows;
    for (int rank = 0; rank < 4; ++rank) {
        rows.push_back({.rank = rank,
                        .host = fmt::format("n{}", rank + 1),
                        .kernels = "avx512",
                        .nonce = "secret",
                        .clock_seconds = 1000,
                        .memory_speed = 20e9,
                        .disk_speed = 1e9,
                        .link_speed = 10e9,
                        .link_host = fmt::format("n{}", (rank + 1) % 4 + 1),
                        .bits = "aaaa",
                        .step_seconds = 0.01});
    }
    return rows;
}

Finding finding(const std::vector<PreflightRow>& rows, const std::string& what, int nodes = 4) {
    for (const Finding& found : judge(rows, {.nonce = "secret", .directory = "/runs", .nodes = nodes})) {
        if (found.what == what) return found;
    }
    ADD_FAILURE() << "nothing about " << what;
    return {};
}

bool contains(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

TEST(Preflight, OfEqualNodesFindsNothing) {
    const auto findings = judge(four(), {.nonce = "secret", .directory = "/runs", .nodes = 4});
    EXPECT_EQ(findings.size(), 7U);
    for (const Finding& found : findings) EXPECT_EQ(found.kind, Kind::fine) << found.what << ": " << found.text;
}

TEST(Preflight, NamesTheNodesThatDoNotSeeTheDirectory) {
    auto rows = four();
    rows[2].nonce = "nothing";
    const Finding found = finding(rows, "shared directory");
    EXPECT_EQ(found.kind, Kind::missing);
    EXPECT_TRUE(contains(found.text, "'/runs' is not seen on n3 (found nothing)")) << found.text;
}

TEST(Preflight, TellsAnotherProcessorFromABrokenOne) {
    auto rows = four();
    rows[1].bits = "bbbb";
    EXPECT_EQ(finding(rows, "training step").kind, Kind::missing);
    EXPECT_TRUE(contains(finding(rows, "training step").text, "n2 with the same kernels: its hardware is at fault"));
    rows[1].kernels = "avx2";
    EXPECT_TRUE(contains(finding(rows, "training step").text, "n2 with other kernels (avx2 instead of avx512)"));
}

TEST(Preflight, BlamesNobodyWithoutAMajorityOfNodesHoweverManyWorkersTheyHave) {
    auto rows = four();
    rows[1].bits = rows[3].bits = "0000";
    const auto text = [&] { return finding(rows, "training step", 2).text; };
    EXPECT_TRUE(contains(text(), "n1 (avx512), n2 (avx512), n3 (avx512), n4 (avx512), and no majority says which"))
        << text();
    EXPECT_TRUE(contains(text(), "look again with one more node")) << text();
    rows[1].kernels = rows[3].kernels = "avx2";
    EXPECT_TRUE(contains(text(), "their kernels differ")) << text();

    rows = four();
    for (const int rank : {0, 1, 2}) rows[static_cast<std::size_t>(rank)].host = "n1";
    rows[3].bits = "0000";
    EXPECT_TRUE(contains(text(), "n1 (avx512), n4 (avx512), and no majority"))
        << "three workers are one node: " << text();
}

TEST(Preflight, NamesANodeWhoseOwnWorkersDisagree) {
    auto rows = four();
    rows[1].host = "n1";
    rows[1].bits = "0000";
    const Finding found = finding(rows, "training step");
    EXPECT_EQ(found.kind, Kind::missing);
    EXPECT_EQ(found.text, "other bits on n1 from worker to worker: its hardware is at fault, exclude it");
}

TEST(Preflight, NotesWhatIsSlowerThanHalfTheMedianAndOnlyThat) {
    auto rows = four();
    rows[3].memory_speed = 9e9;
    rows[0].link_speed = 1e9;
    rows[1].disk_speed = 0.51e9;
    EXPECT_EQ(finding(rows, "memory").kind, Kind::note);
    EXPECT_TRUE(contains(finding(rows, "memory").text, "the median is 20.00 GB/s, but n4 has 9.00 GB/s"));
    EXPECT_TRUE(contains(finding(rows, "link").text, "n1 to n2 has 1.00 GB/s"));
    EXPECT_EQ(finding(rows, "disk").kind, Kind::fine);
}

TEST(Preflight, AddsUpTheMemoryOfANodesWorkers) {
    auto rows = four();  // n1 has three workers of a third of the speed each
    rows[1].host = rows[2].host = "n1";
    rows[0].memory_speed = rows[1].memory_speed = rows[2].memory_speed = 20e9 / 3;
    EXPECT_EQ(finding(rows, "memory").kind, Kind::fine);
    const Finding nodes = finding(rows, "nodes");
    EXPECT_EQ(nodes.kind, Kind::note);
    EXPECT_TRUE(contains(nodes.text, "4 workers on 2: n1, n4; the allocation has 4 nodes")) << nodes.text;
    EXPECT_EQ(finding(rows, "nodes", 2).kind, Kind::fine);
}

TEST(Preflight, NotesAClockThatIsTwoSecondsOff) {
    auto rows = four();
    rows[2].clock_seconds = 997.5;
    const Finding found = finding(rows, "clocks");
    EXPECT_EQ(found.kind, Kind::note);
    EXPECT_TRUE(contains(found.text, "wrong on n3 by -2.5 s")) << found.text;
}

TEST(Preflight, OfOneWorkerHasNoLinkToMeasure) {
    auto rows = four();
    rows.resize(1);
    rows[0].link_speed = 0;
    EXPECT_TRUE(contains(finding(rows, "link", 1).text, "there is none to measure"));
}

TEST(Preflight, AnswersComeBackFromText) {
    const auto rows = preflight_rows_from_json(to_json(four()));
    ASSERT_EQ(rows.size(), 4U);
    EXPECT_EQ(rows[2].host, "n3");
    EXPECT_EQ(rows[3].link_speed, 10e9);
    EXPECT_EQ(to_json(rows), to_json(four()));
    EXPECT_THROW(preflight_rows_from_json("[{\"rank\":0}]"), ConfigError);
    EXPECT_THROW(preflight_rows_from_json("no JSON"), ConfigError);
}

}  // namespace
}  // namespace kiban::coordinator
