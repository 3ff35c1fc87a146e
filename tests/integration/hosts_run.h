// SPDX-License-Identifier: Apache-2.0
// Whole runs over several hosts (tests/support/hosts.sh): the coordinator on the first, workers on all.
#pragma once

#include <fmt/format.h>

#include <fstream>
#include <iterator>

#include "coordinator/run/journal.h"
#include "coordinator/run/run_directory.h"
#include "monitoring/file.h"
#include "tests/integration/run_test.h"

namespace kiban::testing {

class Hosts : public RunTest {
  protected:
    static std::vector<std::string> short_run(const std::string& run, const std::vector<std::string>& cut) {
        std::vector<std::string> more = {"--set", "train.steps=20", "--set", "train.schedule.warmup_steps=2"};
        for (const std::string& setting : cut) more.insert(more.end(), {"--set", setting});
        return pretrain(run, 4, more);
    }

    // With gradients summed in the fixed order, on as many of four workers as there is room for.
    static std::vector<std::string> fixed(const std::string& run, int steps, std::vector<std::string> more = {}) {
        more.insert(more.end(), {"--set", fmt::format("train.steps={}", steps), "--set", "train.reduction=fixed",
                                 "--set", "train.schedule.name=constant", "--set", "train.eval_interval_steps=0",
                                 "--set", "supervise.hang_seconds=5", "--set", "launch.heartbeat_timeout_seconds=8",
                                 "--set", "supervise.min_workers=1"});
        return pretrain(run, 4, std::move(more));
    }

    // The same command on the first of three hosts; the channel and MPI meet at eth0.
    std::unique_ptr<Process> start_on_hosts(const std::string& hosts, const std::vector<std::string>& arguments) {
        std::vector<std::string> words = {KIBAN_SOURCE_DIR "/tests/support/hosts.sh", hosts, KIBAN_BIN_DIR "/kiban"};
        words.insert(words.end(), arguments.begin(), arguments.end());
        words.insert(words.end(), {"--set", "launch.control_interface=eth0", "--set", "launch.launcher=mpirun"});
        std::filesystem::current_path(dir_);
        return std::make_unique<Process>(words, dir_ / fmt::format("output-{}", ++calls_));
    }
    Ended on_hosts(const std::vector<std::string>& arguments) {
        const auto process = start_on_hosts("2,1,1", arguments);
        const int exit_code = process->wait(kPatienceSeconds);
        return {exit_code, process->output()};
    }

    // Process of a worker of this run's attempt as seen from here, whatever host it is on; 0: there is none.
    int worker_seen_from_here(const std::string& run, int rank, std::uint32_t attempt) const {
        const auto has = [](const std::string& text, const std::string& variable) {
            return (std::string(1, '\0') + text).find('\0' + variable + '\0') != std::string::npos;
        };
        for (const std::string& name : monitoring::names_in("/proc")) {
            if (name.find_first_not_of("0123456789") != std::string::npos) continue;
            std::ifstream file("/proc/" + name + "/environ", std::ios::binary);
            const std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
            if (has(text, "KIBAN_RUN_DIR=" + (dir_ / run).string()) &&
                has(text, fmt::format("OMPI_COMM_WORLD_RANK={}", rank)) &&
                has(text, fmt::format("KIBAN_ATTEMPT={}", attempt)))
                return std::stoi(name);
        }
        return 0;
    }

    // From now on nothing reaches the host of this process, and nothing comes from it.
    void cut_off_host_of(int process) {
        Process cut({"nsenter", "--target", fmt::format("{}", process), "--net", "ip", "link", "set", "eth0", "down"},
                    dir_ / fmt::format("output-{}", ++calls_));
        ASSERT_EQ(cut.wait(10), 0) << cut.output();
    }

    // The last entry of the journal of this event.
    nlohmann::json last_entry(const std::string& run, const std::string& event) const {
        nlohmann::json found;
        for (const auto& entry : coordinator::read_journal(coordinator::RunDirectory(dir_ / run).journal())) {
            if (entry.value("event", "") == event) found = entry;
        }
        return found;
    }
};

}  // namespace kiban::testing
