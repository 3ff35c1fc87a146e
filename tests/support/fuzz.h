// SPDX-License-Identifier: Apache-2.0
// A parser of untrusted input under mutations: first every file of a small corpus, then changes of them (bits, bytes,
// numbers, pieces of other files, cuts). Deterministic in the seed; a crash, a hang or an error of the wrong kind
// prints the input in hex.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace kiban::testing {

struct FuzzTarget {
    std::vector<std::string> corpus;
    std::vector<std::string> tokens;  // pieces that such a parser is likely to trip over
    std::size_t good = 0;             // files of the corpus that are accepted
    /// Whether the parser accepted it; false after an error of the kind that it promises. What was accepted is checked
    /// here: InternalError when it is not what it should be.
    std::function<bool(const std::string& input)> execute;
    std::vector<std::string> replayed = {};  // as the corpus, but too large to be changed again and again; none is good
    /// Mends what would else end most executions at the first check (a length, a checksum).
    std::function<void(std::string& input)> mend = {};
};

/// A place for files that are written over thousands of times: in memory where the system has such a one, since a file
/// system on a disk writes each out.
std::filesystem::path fuzz_directory();

/// `arguments`: EXECUTIONS [SEED]. The exit code: 0, or 1 when something was found or when fewer than one mutation in a
/// thousand was accepted, since then nothing behind the first check is reached.
int fuzz(const FuzzTarget& target, int argc, char** argv);

}  // namespace kiban::testing
