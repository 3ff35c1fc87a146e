// SPDX-License-Identifier: Apache-2.0
// Kiban's version, as project() in the top CMakeLists.txt says it. Shown by --version, sent in Hello, stored in
// checkpoints.
#pragma once

namespace kiban::coordinator {

/// Such as "0.1.0". Valid for the life of the process.
const char* version();

}  // namespace kiban::coordinator
