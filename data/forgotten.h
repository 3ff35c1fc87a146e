// SPDX-License-Identifier: Apache-2.0
// Documents that were asked to be forgotten: named by their identity, and where their tokens stand.
//
// Shards and order stay as they are. A forgotten document's tokens are no targets and no context any more: in a row the
// inputs that are its tokens become ends of documents, the targets that are its tokens are masked. So every other token
// keeps its place and its step, whatever is forgotten.
#pragma once

#include <cstdint>
#include <filesystem>
#include <set>
#include <vector>

#include "data/document_id.h"
#include "data/manifest.h"
#include "data/shard.h"

namespace kiban::data {

/// One identity (32 hex digits) a line; blank lines and what follows a '#' are passed over. ConfigError when there is
/// no such file, DataError with the line for anything else in it.
std::set<DocumentId> read_forgotten(const std::filesystem::path& file);

/// Those of `documents` of which the corpus has no token (a wrong digit, or a document that was left out or changed
/// before it became tokens); reads the table of documents of each shard.
std::set<DocumentId> missing_from(const Manifest& manifest, std::set<DocumentId> documents);

/// Where they stand in the stream, ascending; reads the table of documents of each of its shards.
std::vector<TokenRange> ranges_of(const std::set<DocumentId>& documents, const Stream& stream,
                                  const std::vector<Shard>& shards);

}  // namespace kiban::data
