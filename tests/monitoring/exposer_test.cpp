// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <nlohmann/json.hpp>

#include <chrono>
#include <cmath>
#include <functional>
#include <optional>
#include <thread>

#include "monitoring/error.h"
#include "monitoring/run_metrics.h"
#include "tests/monitoring/http.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

RunIdentity identity_of(const std::string& run) {
    RunIdentity identity;
    identity.run = run;
    identity.parameters_total = 1000;
    identity.target_steps = 100;
    return identity;
}

CurveRow row_of(std::uint64_t step, double loss) {
    CurveRow row;
    row.step = step;
    row.tokens = 100 * step;
    row.loss = loss;
    row.step_seconds = 0.05;
    return row;
}

// A real Prometheus that scrapes one port five times a second.
class PrometheusServer {
  public:
    explicit PrometheusServer(int scraped_port) : port_(free_port()) {
        spill(directory_ / "prometheus.yml",
              fmt::format("global: {{scrape_interval: 200ms, scrape_timeout: 200ms}}\n"
                          "scrape_configs: [{{job_name: kiban, static_configs: [{{targets: ['127.0.0.1:{}']}}]}}]\n",
                          scraped_port));
        process_ = std::make_unique<Process>(
            std::vector<std::string>{"prometheus",
                                     fmt::format("--config.file={}", (directory_ / "prometheus.yml").string()),
                                     fmt::format("--storage.tsdb.path={}", (directory_ / "tsdb").string()),
                                     fmt::format("--web.listen-address=127.0.0.1:{}", port_), "--log.level=warn"},
            std::map<std::string, std::string>{}, directory_ / "output");
    }

    /// The value of a query that yields one sample, or nothing yet.
    std::optional<double> query(const std::string& expression) const {
        std::string escaped;
        for (const char character : expression)
            escaped += fmt::format("%{:02X}", static_cast<unsigned char>(character));
        const std::string body = body_of(http_get(port_, "/api/v1/query?query=" + escaped));
        const auto answer = nlohmann::json::parse(body, nullptr, /*allow_exceptions=*/false);
        if (answer.is_discarded() || answer["status"] != "success" || answer["data"]["result"].size() != 1)
            return std::nullopt;
        return std::stod(answer["data"]["result"][0]["value"][1].get<std::string>());
    }

    std::string output() const { return slurp(directory_ / "output"); }

  private:
    TempDirectory directory_;
    int port_;
    std::unique_ptr<Process> process_;
};

TEST(MetricsServer, ServesWhatTextHoldsOnAFreePort) {
    RunMetrics metrics(identity_of("demo"));
    metrics.step(row_of(7, 2.5), 100, false, {});
    const MetricsServer server(metrics, "127.0.0.1:0");
    ASSERT_GT(server.port(), 0);
    const std::string answer = http_get(server.port(), "/metrics");
    EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK")) << answer;
    EXPECT_TRUE(contains(answer, "Content-Type: text/plain")) << answer;
    EXPECT_TRUE(contains(answer, "\nkiban_train_loss_nats{run=\"demo\"} 2.5\n")) << answer;
    EXPECT_TRUE(contains(answer, "\nprocess_cpu_seconds_total{run=\"demo\"} ")) << answer;
    EXPECT_TRUE(contains(http_get(server.port(), "/other"), "404"));
}

TEST(MetricsServer, WhatItServesIsCleanForPromtoolAfterScrapesToo) {
    RunMetrics metrics(identity_of("demo"));
    const MetricsServer server(metrics, "localhost:0");
    http_get(server.port(), "/metrics");
    const Finished check =
        run_process({"promtool", "check", "metrics"}, {}, body_of(http_get(server.port(), "/metrics")));
    EXPECT_EQ(check.exit_code, 0) << check.output;
    EXPECT_EQ(check.output, "");
}

TEST(MetricsServer, APortInUseIsRefusedNamingTheAddress) {
    RunMetrics metrics(identity_of("demo"));
    const MetricsServer server(metrics, "127.0.0.1:0");
    const std::string address = fmt::format("127.0.0.1:{}", server.port());
    const std::string message = message_of<ConfigError>([&] { MetricsServer(metrics, address); });
    EXPECT_TRUE(contains(message, fmt::format("cannot serve metrics on '{}': Address already in use", address)))
        << message;
    EXPECT_TRUE(contains(message, "set monitoring.listen")) << message;
}

TEST(MetricsServer, AnAddressOfAnotherMachineIsRefusedSayingWhy) {
    RunMetrics metrics(identity_of("demo"));
    const std::string message = message_of<ConfigError>([&] { MetricsServer(metrics, "192.0.2.1:0"); });
    EXPECT_TRUE(contains(message, "'192.0.2.1:0': Cannot assign requested address")) << message;
}

TEST(MetricsServer, WhatIsNotAnAddressIsRefused) {
    RunMetrics metrics(identity_of("demo"));
    for (const char* listen : {"", "9464", "127.0.0.1", "127.0.0.1:", "127.0.0.1:http", "127.0.0.1:70000",
                               "127.0.0.1:9464s", "999.1.1.1:0", "::1:0", "[::1]:0", "example:0"}) {
        const std::string message = message_of<ConfigError>([&] { MetricsServer(metrics, listen); });
        EXPECT_TRUE(
            contains(message, fmt::format("cannot serve metrics on '{}': expected an IPv4 ADDRESS:PORT", listen)))
            << message;
    }
}

TEST(MetricsServer, EndsAtOnceAndGivesThePortBack) {
    RunMetrics metrics(identity_of("demo"));
    int port = 0;
    std::chrono::steady_clock::time_point start;
    {
        const MetricsServer server(metrics, "127.0.0.1:0");
        port = server.port();
        EXPECT_NE(http_get(port, "/metrics"), "");
        start = std::chrono::steady_clock::now();
    }
    EXPECT_LT(std::chrono::steady_clock::now() - start, std::chrono::milliseconds(1800))
        << "a run that is done must not linger";
    EXPECT_EQ(http_get(port, "/metrics"), "");
    const MetricsServer again(metrics, fmt::format("127.0.0.1:{}", port));
    EXPECT_EQ(again.port(), port);
}

TEST(Prometheus, ARealServerScrapesTheLossAndItsRatioIsExactOverARestart) {
    auto metrics = std::make_unique<RunMetrics>(identity_of("demo"));
    auto server = std::make_unique<MetricsServer>(*metrics, "127.0.0.1:0");
    const std::string address = fmt::format("127.0.0.1:{}", server->port());
    const PrometheusServer prometheus(server->port());
    const std::string ratio =
        "sum by (run) (rate(kiban_train_loss_nats_total[1m])) / sum by (run) (rate(kiban_train_loss_tokens_total[1m]))";

    std::uint64_t step = 0;
    const auto train_until = [&](const std::string& query, const std::function<bool(double)>& reached) {
        for (int tries = 0; tries < 600; ++tries) {
            ++step;
            metrics->step(row_of(step, 1.25), 100 + step % 7, false, {});
            std::this_thread::sleep_for(std::chrono::milliseconds(50));
            const auto value = prometheus.query(query);
            if (value && reached(*value)) return true;
        }
        return false;
    };
    const auto is_the_loss = [](double value) { return std::abs(value - 1.25) < 1e-9; };
    ASSERT_TRUE(train_until(ratio, is_the_loss)) << prometheus.output();
    ASSERT_TRUE(train_until("kiban_train_step", [](double value) { return value >= 10; }));
    EXPECT_EQ(prometheus.query("up{job=\"kiban\"}"), 1.0);

    // The coordinator starts again: its counters begin at 0, the position goes on from the checkpoint.
    server.reset();
    metrics = std::make_unique<RunMetrics>(identity_of("demo"));
    step = 8;
    server = std::make_unique<MetricsServer>(*metrics, address);
    ASSERT_TRUE(train_until("resets(kiban_train_loss_tokens_total[1m])", [](double value) { return value == 1; }));
    ASSERT_TRUE(train_until(ratio, is_the_loss));
}

}  // namespace
}  // namespace kiban::monitoring
