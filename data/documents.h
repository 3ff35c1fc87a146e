// SPDX-License-Identifier: Apache-2.0
// The documents of one piece of input: a text file is one document, a JSONL line is one; an archive's members are read
// as files are.
//
// Bad input throws DataError with the file and the line (JSONL) or byte (compressed), but for lines that are no
// documents where a piece says that they are passed over: those are told to the sink. Blank JSONL lines are passed
// over. Not thread-safe.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

#include "data/units.h"

namespace kiban::data {

inline constexpr std::uint64_t kRecordBytes = 64u
                                              << 20;  // a longer JSONL line is refused, so that memory stays bounded

class DocumentSink {
  public:
    virtual ~DocumentSink() = default;
    /// `offset`: where the document's record starts in its (uncompressed) file; of a member that is compressed itself,
    /// counted from the member's begin.
    virtual void begin(const Piece& piece, std::uint64_t offset) = 0;
    virtual void add(std::span<const std::byte> text) = 0;
    /// `complete` is false when the document goes on in the next piece of its file.
    virtual void end(bool complete) = 0;
    /// The line at `offset` was no document, for a reason that is a word.
    virtual void reject(const Piece& piece, std::uint64_t offset, std::string_view reason) {
        static_cast<void>(piece), static_cast<void>(offset), static_cast<void>(reason);
    }
};

void read_documents(const Piece& piece, DocumentSink& sink);

}  // namespace kiban::data
