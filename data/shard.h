// SPDX-License-Identifier: Apache-2.0
// Token shards: HDF5 files of token ids with a table of the documents in them (format: data/FORMAT.md).
//
// Written once, by HDF5 for the structure and past it for the payload. Read through a memory map; every block is
// checked against its XXH3 on first touch. A Shard is thread-safe after construction. Errors: DataError for damaged or
// unexpected content (names the file, and the block), IoError for the operating system's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "data/document_id.h"

namespace kiban::data {

inline constexpr std::uint64_t kShardVersion = 2;          // of shards whose ids have 4 bytes; with 2 it is 1
inline constexpr std::uint64_t kBlockTokens = 512u << 10;  // 1 MiB of 16-bit ids

struct ShardDocuments {                  // one entry a document that has tokens in the shard, in order
    std::vector<std::uint64_t> offsets;  // first token of each within the shard, and one past the last
    std::vector<DocumentId> ids;
    std::vector<std::uint32_t> units;    // work unit that read its first token here
    std::vector<std::uint32_t> files;    // ordinal of its file in the source's list (inputs.jsonl)
    std::vector<std::uint64_t> records;  // byte offset of its record in the uncompressed file
    bool first_continues = false;        // the first entry began in the shard before

    std::size_t size() const { return ids.size(); }
};

struct ShardContent {
    std::string tokenizer;
    std::string tokenizer_sha256;
    std::string config_sha256;
    std::uint32_t vocabulary = 0;
    std::uint32_t end_of_document = 0;
    std::uint64_t tokens = 0;
    ShardDocuments documents;
    std::function<void(std::span<std::uint32_t>)> next_tokens;  // fills the span with the tokens that follow
};

struct WrittenShard {
    std::vector<std::uint64_t> block_xxh3;
    std::uint64_t bytes = 0;
};

/// Writes `file` (must not exist) and makes its bytes durable.
WrittenShard write_shard(const std::filesystem::path& file, const ShardContent& content);

class Shard {
  public:
    explicit Shard(const std::filesystem::path& file);
    ~Shard();
    Shard(Shard&&) noexcept;

    const std::string& tokenizer() const;
    const std::string& tokenizer_sha256() const;
    std::uint32_t vocabulary() const;
    std::uint64_t tokens() const;
    std::uint64_t bytes() const;  // of the file
    std::span<const std::uint64_t> block_xxh3() const;

    /// Tokens from `first` on, as many as `ids` has room for; their blocks are checked.
    void read(std::uint64_t first, std::span<std::int64_t> ids) const;
    std::vector<std::int64_t> read(std::uint64_t first, std::uint64_t count) const;
    /// Inputs are the tokens from `first` on, targets those one further; as many of each.
    void read(std::uint64_t first, std::span<std::int64_t> inputs, std::span<std::int64_t> targets) const;
    /// Asks the processor for the lines of `count` tokens, or of the table of documents there (first its directory,
    /// then what that says), so that a later call finds them near. Errors: none.
    void fetch(std::uint64_t first, std::uint64_t count) const;
    void fetch_directory(std::uint64_t token) const;
    void fetch_documents(std::uint64_t token) const;
    /// Checks every block.
    void verify() const;
    ShardDocuments documents() const;
    bool first_continues() const;  // the first document began in the shard before
    /// How many documents start at token `token` or before it: which one comes next. Found in the mapped table.
    std::uint64_t documents_until(std::uint64_t token) const;
    /// Where document `n` starts here; tokens() for the one after the last.
    std::uint64_t document_start(std::uint64_t n) const;

  private:
    struct Impl;
    std::unique_ptr<Impl> impl_;
};

}  // namespace kiban::data
