// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "coordinator/protocol/wire.h"
#include "coordinator/run/board.h"
#include "coordinator/run/lease.h"
#include "monitoring/config.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "tests/checkpoint/small_model.h"
#include "tests/monitoring/http.h"

namespace kiban::coordinator {
namespace {

class BoardTest : public ::testing::Test {
  protected:
    BoardTest() : directory_(std::filesystem::temp_directory_path() / fmt::format("kiban-board-{}", ::getpid())) {
        directory_.open_or_create();
    }
    ~BoardTest() override { std::filesystem::remove_all(directory_.root()); }

    static monitoring::RunIdentity identity() {
        monitoring::RunIdentity identity;
        identity.run = "demo";
        identity.target_steps = 100;
        return identity;
    }

    static bool shows(Board& board, const std::string& line) {
        return board.metrics().text().find(line + "\n") != std::string::npos;
    }
    static std::string up(int rank, int value) {
        return fmt::format("kiban_worker_up{{run=\"demo\",rank=\"{}\"}} {}", rank, value);
    }

    // Three workers: one that speaks now, one that was heard a minute ago, one that never said hello.
    static Membership members() {
        const double now = monotonic_seconds();
        Membership members(3, now - 100, 1000, 30);
        Hello hello;
        hello.world_size = 3;
        members.hello(hello, now);
        hello.rank = 1;
        members.hello(hello, now - 60);
        return members;
    }

    RunDirectory directory_;
};

TEST_F(BoardTest, AWorkerIsUpWhileItIsHeardFromAndDownWhenItIsLost) {
    Board board(directory_, identity(), "");
    board.tick(members());
    EXPECT_TRUE(shows(board, up(0, 1))) << board.metrics().text();
    EXPECT_TRUE(shows(board, up(1, 0))) << board.metrics().text();
    EXPECT_TRUE(shows(board, up(2, 0))) << board.metrics().text();
}

TEST_F(BoardTest, OfASecondRunOnTheNodeTakesAnotherPortUnlessItWasNamedAndNothingIsLost) {
    const std::string usual = monitoring::MonitoringConfig{}.listen;
    Board first(directory_, identity(), usual);
    Board second(directory_, identity(), usual);
    EXPECT_TRUE(second.status.metrics.starts_with("http://127.0.0.1:")) << second.status.metrics;
    EXPECT_NE(second.status.metrics, first.status.metrics);
    const std::string taken = second.status.metrics.substr(7, second.status.metrics.rfind('/') - 7);
    EXPECT_THROW(Board(directory_, identity(), taken), ConfigError);
    checkpoint::testing::write_checkpoint(
        {directory_.root(), 2, 1, 1, checkpoint::testing::flat_layout, checkpoint::testing::tiny_model()});
    const Board third(directory_, identity(), taken);
    EXPECT_TRUE(third.status.metrics.starts_with("http://127.0.0.1:")) << third.status.metrics;
    EXPECT_NE(third.status.metrics, second.status.metrics);
    EXPECT_THROW(Board(directory_, identity(), "203.0.113.1:9464"), ConfigError) << "no port of it would do";
}

TEST_F(BoardTest, AnIdentityThatBecomesKnownIsServedAtTheSamePort) {
    Board board(directory_, identity(), "127.0.0.1:0");
    board.metrics().prepared_unit(10, 1, 9);
    const int port = std::stoi(board.status.metrics.substr(board.status.metrics.rfind(':') + 1));
    monitoring::RunIdentity known = identity();
    known.data_hash = "da7a";
    board.metrics().set_identity(known);
    const std::string served = monitoring::http_get(port, "/metrics");
    EXPECT_NE(served.find("data_hash=\"da7a\""), std::string::npos) << served;
    EXPECT_NE(served.find("kiban_prepared_tokens_total{run=\"demo\"} 9\n"), std::string::npos) << served;
}

TEST_F(BoardTest, PrometheusIsToldWhereTheMetricsAreForAsLongAsTheyAreServed) {
    const auto targets = [&] {
        return monitoring::read_text_if_exists(directory_.root() / "targets.json").value_or("none");
    };
    {
        Board board(directory_, identity(), "127.0.0.1:0");
        const std::string port = board.status.metrics.substr(17, board.status.metrics.rfind('/') - 17);
        EXPECT_EQ(targets(), fmt::format("[{{\"targets\":[\"127.0.0.1:{}\"]}}]\n", port));
    }
    EXPECT_EQ(targets(), "none");
    {
        Board board(directory_, identity(), "0.0.0.0:0");
        EXPECT_EQ(targets().find("0.0.0.0"), std::string::npos) << "an address that can be reached: " << targets();
        EXPECT_NE(targets().find("[\"" + board.status.host + ":"), std::string::npos) << targets();
    }
    EXPECT_EQ(targets(), "none");
}

TEST_F(BoardTest, AStartWithoutMetricsTakesAwayWhereAKilledOneServedThem) {
    const auto file = directory_.root() / "targets.json";
    monitoring::publish(file, "of one that was killed");
    const Board silent(directory_, identity(), "");
    EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(BoardTest, ACoordinatorThatWasOvertakenLeavesTheFileOfItsSuccessorThoughItSaysTheSame) {
    const auto file = directory_.root() / "targets.json";
    const Lease lease = Lease::acquire(directory_.root());
    {
        const Board overtaken(directory_, identity(), "127.0.0.1:0", [&] { return lease.is_current(); });
        ASSERT_TRUE(std::filesystem::exists(file));
        monitoring::publish(directory_.root() / "lease/epoch-000002", "of another machine\n");
    }
    EXPECT_TRUE(std::filesystem::exists(file));
    {
        const Board also(directory_, identity(), "", [&] { return lease.is_current(); });
    }
    EXPECT_TRUE(std::filesystem::exists(file));
    std::filesystem::remove(directory_.root() / "lease/epoch-000002");
    {
        const Board owner(directory_, identity(), "127.0.0.1:0", [&] { return lease.is_current(); });
    }
    EXPECT_FALSE(std::filesystem::exists(file));
}

TEST_F(BoardTest, WhatIsServedIsWrittenIntoTheRunDirectoryToo) {
    Board board(directory_, identity(), "");
    board.set_state("training");
    Membership members(1, 0, 60, 30);
    Hello hello;
    hello.world_size = 1;
    hello.host = "node";
    members.hello(hello, 1);
    Heartbeat beat;
    beat.phase_seconds = {{"forward", 1.5}};
    members.heartbeat(0, beat, 1);
    std::filesystem::create_directories(directory_.logs(board.status.attempt));
    board.tick(members);
    const auto metrics = [&] { return monitoring::read_text(directory_.root() / "metrics.prom"); };
    EXPECT_NE(metrics().find("kiban_run_state{run=\"demo\",state=\"training\"} 1\n"), std::string::npos) << metrics();
    EXPECT_NE(monitoring::read_text(directory_.logs(board.status.attempt) / "seconds.json").find("{\"forward\":1.5}"),
              std::string::npos);
    std::filesystem::remove(directory_.root() / "metrics.prom");
    board.waiting();
    EXPECT_FALSE(std::filesystem::exists(directory_.root() / "metrics.prom")) << "it is new enough";
    Board restarted(directory_, identity(), "");
    restarted.waiting();
    EXPECT_TRUE(std::filesystem::exists(directory_.root() / "metrics.prom")) << "no workers, and it is renewed";
    board.set_state("done");
    EXPECT_NE(metrics().find("kiban_run_state{run=\"demo\",state=\"done\"} 1\n"), std::string::npos)
        << "the end is there at once";
}

TEST_F(BoardTest, NoWorkerIsUpOnceTheAttemptIsOver) {
    for (const char* over : {"restarting", "done", "failed", "stopped"}) {
        Board board(directory_, identity(), "");
        board.set_state("training");
        board.tick(members());
        board.set_state("saving");
        EXPECT_TRUE(shows(board, up(0, 1))) << board.metrics().text();
        board.set_state(over);
        EXPECT_TRUE(shows(board, up(0, 0))) << over << board.metrics().text();
    }
}

}  // namespace
}  // namespace kiban::coordinator
