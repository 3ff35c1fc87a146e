// SPDX-License-Identifier: Apache-2.0
// What was taken out of a corpus, as lines of JSON of which each carries the SHA-256 of the one before (format:
// data/FORMAT.md). Holds counts and identities of documents, never a value or its hash.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "data/privacy/audit_head.h"

namespace kiban::data {

class AuditLog {
  public:
    /// Gives `line` its number and the digest of the line before.
    void add(nlohmann::json line);

    const std::string& text() const { return text_; }
    AuditHead head() const { return {lines_, previous_}; }

  private:
    std::string text_;
    std::uint64_t lines_ = 0;
    std::string previous_ = first_digest();

    static std::string first_digest();
};

/// The lines. DataError with the line at which the chain breaks, or when it does not end in `head`.
std::vector<nlohmann::json> verified_audit_log(std::string_view text, const AuditHead& head, const std::string& name);

}  // namespace kiban::data
