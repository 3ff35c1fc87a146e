// SPDX-License-Identifier: Apache-2.0
// A second look at a finished corpus: that its files are those of the manifest, that the log of what was taken out is
// whole, and what personal data is left in the text that its shards decode to.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "data/manifest.h"
#include "data/privacy/kind.h"
#include "data/privacy/names.h"

namespace kiban::data {

struct Residual {          // personal data that was to be taken out and is there
    std::string document;  // its identity
    std::string source;
    Kind kind = Kind::secret;
};

struct AuditReport {
    std::uint64_t shards = 0;
    std::uint64_t documents = 0;  // looked at: none of a corpus of which nothing was to be taken out
    std::uint64_t text_bytes = 0;
    std::uint64_t log_lines = 0;
    std::map<std::string, std::map<std::string, std::uint64_t>>
        kept;  // by source and kind: found, but not to be taken out
    std::vector<Residual> residuals;
};

/// DataError names the first file, line or block that is not as the manifest has it, and, where names were to be taken
/// out, that `names` is not the list of them. Of a document about 128 MiB are held at a time.
AuditReport audit_corpus(const Manifest& manifest, const NameList* names = nullptr);

}  // namespace kiban::data
