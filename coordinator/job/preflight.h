// SPDX-License-Identifier: Apache-2.0
// What `kiban doctor --preflight` asks of every worker of an allocation, and what it makes of the answers: does each
// node see the run's directory, is none much slower than the others, do all compute the same bits. Pure; any thread.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace kiban::coordinator {

struct PreflightRow {  // of one worker; speeds in bytes a second, 0: not measured by this one
    int rank = 0;
    std::string host = {};
    std::string kernels = {};
    std::string nonce = {};    // as this node reads it; else the reason why not
    double clock_seconds = 0;  // wall time of all, read right after a barrier
    double memory_speed = 0;   // while the other workers of the node measure too
    double disk_speed = 0;     // written and fsynced: the first worker of each node, all at once
    double link_speed = 0;     // to link_host and back: the first worker of each node, one after the other
    std::string link_host = {};
    std::string bits = {};  // digest of weights and losses after a few training steps that are the same everywhere
    double step_seconds = 0;
};

/// A JSON array. ConfigError when the text is none of these.
std::string to_json(const std::vector<PreflightRow>& rows);
std::vector<PreflightRow> preflight_rows_from_json(const std::string& text);

struct Finding {
    enum class Kind { fine, note, missing };
    Kind kind = Kind::fine;
    std::string what;  // "shared directory"
    std::string text;

    bool operator==(const Finding&) const = default;
};

struct PreflightExpectation {
    std::string nonce;
    std::string directory;
    int nodes = 0;  // of the allocation; 0: not known
};

/// A node is slow when it has less than half of the median of all; a clock is wrong when it is 2 s from the median.
std::vector<Finding> judge(const std::vector<PreflightRow>& rows, const PreflightExpectation& expected);

}  // namespace kiban::coordinator
