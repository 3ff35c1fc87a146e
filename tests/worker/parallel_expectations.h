// SPDX-License-Identifier: Apache-2.0
// What it means that two trainings are of the same model.
#pragma once

#include <string>

#include "tests/worker/parallel_training.h"

namespace kiban::worker {

/// Losses and evaluation within 1e-5 relative, norms within 1e-4, each gradient g of the first step within 1e-5
/// max(|g|, 1e-4 |all gradients|) by norm. Fails the test naming `what`.
void expect_same(const Trained& found, const Trained& expected, const std::string& what);

}  // namespace kiban::worker
