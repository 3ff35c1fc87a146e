// SPDX-License-Identifier: Apache-2.0
// What the manifest keeps of an audit log, so that the log cannot be changed or cut.
#pragma once

#include <cstdint>
#include <string>

namespace kiban::data {

struct AuditHead {
    std::uint64_t lines = 0;
    std::string sha256;  // of the last line; of nothing for a log without lines

    bool operator==(const AuditHead&) const = default;
};

}  // namespace kiban::data
