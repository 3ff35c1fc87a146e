// SPDX-License-Identifier: Apache-2.0
// What happened to a run, in order: RUN/journal.jsonl, one JSON object a line {time, attempt, event, ...}; never
// rewritten.
//
// A line torn by a crash or a full disk is ended by the next writer and left out by readers. One thread. Errors:
// IoError.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "monitoring/file.h"

namespace kiban::coordinator {

class Journal {
  public:
    explicit Journal(const std::filesystem::path& file);

    void set_attempt(std::uint32_t attempt) { attempt_ = attempt; }
    /// `fields` is an object. On disk when this returns.
    void add(const std::string& event, const nlohmann::json& fields = nlohmann::json::object());
    /// As add(); what the disk refuses is logged. For what must not end a run that goes on well.
    void try_add(const std::string& event, const nlohmann::json& fields = nlohmann::json::object()) noexcept;

  private:
    monitoring::File file_;
    std::uint32_t attempt_ = 0;
    bool torn_ = false;  // the line before may have been written in part
};

/// All whole entries, oldest first; none when the file is missing.
std::vector<nlohmann::json> read_journal(const std::filesystem::path& file);
/// One entry for a person: time, event, then key=value.
std::string describe(const nlohmann::json& entry);

}  // namespace kiban::coordinator
