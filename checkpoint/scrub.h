// SPDX-License-Identifier: Apache-2.0
// Re-reads the kept checkpoints of a live run now and then, slowly, so that rot is found while a sound one is left.
//
// One thread of its own, which reads and uses no HDF5. What it finds waits for take_findings(), since only the owner's
// thread may reject. A checkpoint that retention takes under it is none of its business.
#pragma once

#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <filesystem>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "checkpoint/commit.h"

namespace kiban::checkpoint {

struct ScrubSetup {
    std::filesystem::path run_dir;
    double interval_seconds = 0;      // between passes; 0: never
    double bytes_per_second = 0;      // above 0
    double first_after_seconds = -1;  // the first pass; negative: interval_seconds
};
struct ScrubFinding {
    CheckpointInfo checkpoint;
    std::string fault;
};

class Scrub {
  public:
    explicit Scrub(ScrubSetup setup);
    ~Scrub();  // within one block's read
    Scrub(const Scrub&) = delete;
    Scrub& operator=(const Scrub&) = delete;

    std::vector<ScrubFinding> take_findings();  // each damaged checkpoint once
    void put_back(ScrubFinding finding);        // it could not be dealt with now
    std::uint64_t bytes_read() const { return bytes_read_; }
    std::uint64_t passes() const { return passes_; }

  private:
    void run();
    void pass();
    void read_checkpoint(const CheckpointInfo& info);
    bool wait(double seconds);  // false when it is time to end

    ScrubSetup setup_;
    std::atomic<std::uint64_t> bytes_read_{0};
    std::atomic<std::uint64_t> passes_{0};
    std::mutex mutex_;
    std::condition_variable changed_;
    bool ending_ = false;
    std::vector<ScrubFinding> findings_;
    std::set<std::filesystem::path> found_;  // the thread's own
    std::thread thread_;
};

}  // namespace kiban::checkpoint
