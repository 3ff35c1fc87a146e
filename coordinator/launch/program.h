// SPDX-License-Identifier: Apache-2.0
// Other programs that answer quickly: squeue, scontrol, compilers of the doctor's checks. Any thread.
#pragma once

#include <string>
#include <vector>

namespace kiban::coordinator {

struct ProgramOutput {
    int exit_code = 0;  // 128 + signal; 127: could not be started
    std::string text;   // standard output and error
};
/// Runs a program to its end (killed after 10 s), with `additions` ("NAME=value") to the environment.
ProgramOutput run_program(const std::vector<std::string>& arguments, const std::vector<std::string>& additions = {});

}  // namespace kiban::coordinator
