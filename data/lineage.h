// SPDX-License-Identifier: Apache-2.0
// Which corpus a corpus came from: lineage.jsonl beside its manifest names the manifest digests of its parents. A
// corpus is named by its content, so the record stands beside the manifest and not in it: the same text prepared on
// another machine, or without a parent, is the same corpus. Format: data/FORMAT.md.
#pragma once

#include <string>
#include <vector>

#include "data/manifest.h"

namespace kiban::data {

struct Ancestor {
    std::string child;      // digest of the manifest that names it
    std::string digest;     // of its own manifest
    std::string directory;  // as the child names it: relative to the child's
    bool appended = false;  // the child's first sources are all of its own, token for token; else it was prepared again
    bool present = false;   // it was there, with that digest
};

/// Notes that `corpus` came from `parent`, once. Nothing is written when they are the same corpus. Several processes
/// may do it at once. DataError for a record that is damaged.
void record_parent(const Manifest& corpus, const Manifest& parent);

/// All ancestors, parents before their own. DataError names the line of a record that is damaged or of another corpus,
/// a parent that is there with another digest, and one whose sources are not what the record says.
std::vector<Ancestor> check_lineage(const Manifest& corpus);

}  // namespace kiban::data
