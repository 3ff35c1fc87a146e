// SPDX-License-Identifier: Apache-2.0
// A few training steps of a small model on this worker alone, the same on every worker: equal processors give equal
// bits.
#pragma once

#include <string>

#include "coordinator/config/run_file.h"

namespace kiban::worker {

struct TrainingBits {
    std::string digest;  // SHA-256 of the weights and the losses
    double seconds = 0;  // of a step, the first one left out
};

/// `run_file` says the model and the steps; its data are not read: token k of every row is a fixed function of k.
TrainingBits training_bits(const coordinator::RunFile& run_file);

}  // namespace kiban::worker
