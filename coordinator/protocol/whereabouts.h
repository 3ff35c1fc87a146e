// SPDX-License-Identifier: Apache-2.0
// Where a worker is, in a small file that it keeps mapped: what it was doing can be read after it died without a word.
//
// logs/attempt-N/worker-R.at, 64 bytes, native byte order: what is written there survives the process, though not the
// machine. Writing is a few stores, no system call. One thread writes; anybody reads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

namespace kiban::coordinator {

struct Whereabouts {
    std::string phase;  // at most 23 characters of it
    std::uint64_t step = 0;
    std::uint64_t position = 0;  // of the sample order, where the rows of that step begin
};

std::filesystem::path whereabouts_file(const std::filesystem::path& log_directory, int rank);

class WhereaboutsFile {
  public:
    /// IoError when the file cannot be made: then nobody will know.
    explicit WhereaboutsFile(const std::filesystem::path& file);
    ~WhereaboutsFile();
    WhereaboutsFile(const WhereaboutsFile&) = delete;
    WhereaboutsFile& operator=(const WhereaboutsFile&) = delete;

    void enter(const char* phase, std::uint64_t step) noexcept;
    void set_position(std::uint64_t position) noexcept;

  private:
    struct Record;
    Record* record_ = nullptr;
};

/// nullopt when there is none, or it is none of ours.
std::optional<Whereabouts> read_whereabouts(const std::filesystem::path& file);

}  // namespace kiban::coordinator
