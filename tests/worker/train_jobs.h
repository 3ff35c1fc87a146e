// SPDX-License-Identifier: Apache-2.0
// Whole jobs through the real control channel, corpus and checkpoints, on every rank of the test.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <memory>
#include <string>
#include <vector>

#include "coordinator/config/run_file.h"
#include "coordinator/protocol/worker_channel.h"
#include "monitoring/error.h"
#include "tests/support/mpi_world.h"
#include "tests/worker/train_conductor.h"
#include "tests/worker/train_small_run.h"
#include "worker/train/jobs.h"

namespace kiban::worker {

inline int ranks() { return test_world().size(); }
inline int me() { return test_world().rank(); }

class Jobs : public ::testing::Test {
  protected:
    void SetUp() override {
        std::string name = (std::filesystem::temp_directory_path() / "kiban-train-XXXXXX").string();
        if (me() == 0) {
            ASSERT_NE(::mkdtemp(name.data()), nullptr);
        }
        test_world().broadcast(std::as_writable_bytes(std::span<char>(name)), 0);
        directory_ = name;
        if (me() == 0) {
            prepare_small_corpus(directory_);
        }
        test_world().barrier();
    }
    void TearDown() override {
        test_world().barrier();
        if (me() == 0) std::filesystem::remove_all(directory_);
    }

    coordinator::RunFile run_file(const std::vector<std::string>& overrides = {}) const {
        return small_run_file(directory_, ranks(), overrides);
    }
    coordinator::Job job(const std::vector<std::string>& overrides = {}, const std::string& checkpoint = "",
                         int workers = ranks()) const {
        return small_job(directory_, workers, overrides, checkpoint);
    }

    // Runs the script with every member of `group` as a worker. Member 0 gets the conductor back; an exception is
    // passed on after reporting it, as kiban-worker does.
    std::unique_ptr<Conductor> run(Script script, const Group& group = test_world()) {
        ++attempt_;
        std::unique_ptr<Conductor> conductor;
        if (group.rank() == 0)
            conductor = std::make_unique<Conductor>(directory_, attempt_, group.size(), std::move(script));
        group.barrier();  // the channel's files are there
        failure_.clear();
        {
            Runtime runtime;
            runtime.kernels = "test";
            coordinator::WorkerChannel channel(directory_, attempt_, hello_of(runtime, group), 20);
            Control control(channel);
            checkpoint::BackgroundWriter writer;
            try {
                run_job(group, runtime, writer, control);
            } catch (const Error& error) {
                failure_ = fmt::format("{}: {}", error.type_name(), error.what());
                channel.send(coordinator::Failure{error.type_name(), error.what(), control.step(), error.exit_code()});
            }
        }
        if (conductor) conductor->finish();
        group.barrier();
        return conductor;
    }

    // Names the checkpoint of a step to every rank.
    std::string shared(const std::string& of_rank_0) { return test_world().all_gather(of_rank_0)[0]; }

    std::filesystem::path directory_;
    std::uint32_t attempt_ = 0;
    std::string failure_;
};

}  // namespace kiban::worker
