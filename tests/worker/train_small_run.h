// SPDX-License-Identifier: Apache-2.0
// A run small enough to train in a second: text with a grammar, a two-layer model, twelve steps.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "coordinator/config/run_file.h"
#include "coordinator/protocol/messages.h"

namespace kiban::worker {

inline constexpr std::uint64_t kSmallRunTokens = 32;  // of a row
inline constexpr std::uint64_t kSmallRunRows = 8;     // of a step

std::string small_text();
coordinator::RunFile small_run_file(const std::filesystem::path& directory, int workers,
                                    const std::vector<std::string>& overrides = {});
/// Writes directory/text.txt and its corpus below directory/corpora.
void prepare_small_corpus(const std::filesystem::path& directory);
/// Trains on that corpus; `checkpoint` is the one to start from.
coordinator::Job small_job(const std::filesystem::path& directory, int workers,
                           const std::vector<std::string>& overrides = {}, const std::string& checkpoint = "");

}  // namespace kiban::worker
