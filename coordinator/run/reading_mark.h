// SPDX-License-Identifier: Apache-2.0
// That a checkpoint of a run which somebody else may drive is being read (generate, export, fork, --verify-resume), so
// that the retention of the run's coordinator leaves it where it is: RUN/lease/reader-NONCE names it and the reader.
//
// Each reader has a mark of its own; what users pin is neither asked nor changed. A reader that was killed leaves its
// mark, which then counts no longer: at once where its process can be looked for (same boot and pid namespace), else
// kMarkHours after it was made. By the wall clock, since a reader elsewhere has no other; it is long, so that a clock
// that is a day off changes nothing, and all that depends on it is how long one checkpoint's space is taken. No flock:
// whether a shared file system passes it on to other hosts depends on how each of them mounted it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

namespace kiban::coordinator {

inline constexpr double kMarkHours = 48;

/// Marks the checkpoint while it lives. Makes none, and is no error, where there is nothing to be kept off or no way to
/// say so: the directory is not RUN/ckpt/step-..., no coordinator ever had the run, or its directory cannot be written
/// (when it could be and a disk refuses, a warning says so). Whoever reads finds out whether the checkpoint is there:
/// from then on it stays.
class ReadingMark {
  public:
    explicit ReadingMark(const std::filesystem::path& checkpoint);
    ~ReadingMark();
    ReadingMark(const ReadingMark&) = delete;
    ReadingMark& operator=(const ReadingMark&) = delete;

  private:
    std::filesystem::path file_;  // empty: none
};

/// Names of the checkpoints that are being read; marks that count no longer are deleted, what is no mark or cannot be
/// read counts for nothing. For the owner of the lease.
std::vector<std::string> checkpoints_being_read(const std::filesystem::path& run_dir);

}  // namespace kiban::coordinator
