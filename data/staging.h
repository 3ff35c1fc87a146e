// SPDX-License-Identifier: Apache-2.0
// Files on their way into a corpus: written under a private temporary name, made durable, renamed.
//
// A tokenized unit is staged as one file: its token ids, its table of documents and the task's result (format:
// data/FORMAT.md). Two processes that prepare the same corpus write the same bytes, so whichever renames last changes
// nothing. Errors: IoError.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string_view>
#include <vector>

#include "data/document_id.h"
#include "data/token_ids.h"
#include "monitoring/file.h"

namespace kiban::data {

/// Owns a temporary name below a directory; what is left there when it goes out of scope is deleted.
class Temporary {
  public:
    Temporary(const std::filesystem::path& directory, std::string_view stem);
    Temporary(const Temporary&) = delete;
    Temporary& operator=(const Temporary&) = delete;
    ~Temporary();

    const std::filesystem::path& path() const { return path_; }
    /// Renames to `name` in a durable way; when a file of that name is there already, that one stays.
    void publish(const std::filesystem::path& name, std::string_view fault_point);

  private:
    std::filesystem::path path_;
};

/// Publishes a small file whose temporary name is in `staging`, so that a killed process leaves nothing beside `name`.
void publish_through(const std::filesystem::path& staging, const std::filesystem::path& name, std::string_view content,
                     std::string_view fault_point);

struct StagedDocument {
    DocumentId id{};           // zero when `part` is set: the text of the other units is needed
    std::uint64_t tokens = 0;  // of it in this unit, with its end
    std::uint64_t offset = 0;  // of its record in the uncompressed file
    std::uint32_t file = 0;    // ordinal in the source's list
    std::uint8_t held_out = 0;
    std::uint8_t part = 0;       // one range of a text that was cut into several units
    std::uint8_t continued = 0;  // the document began in an earlier unit
    std::uint8_t reserved = 0;
};
static_assert(sizeof(StagedDocument) == 40);

class StagedUnitWriter {
  public:
    /// Ids are written in `id_bytes` bytes each, 2 or 4.
    StagedUnitWriter(const std::filesystem::path& staging, std::uint32_t id_bytes);

    void add(std::span<const std::uint32_t> ids);
    void add(const StagedDocument& document) { documents_.push_back(document); }
    void publish(const std::filesystem::path& name, const nlohmann::json& result);

  private:
    void flush();

    Temporary temporary_;
    monitoring::File file_;
    std::uint32_t id_bytes_;
    std::vector<std::byte> buffer_;
    std::size_t used_ = 0;
    std::uint64_t tokens_ = 0;
    std::vector<StagedDocument> documents_;
};

class StagedUnit {
  public:
    /// nullopt when there is none; IoError when it is damaged.
    static std::optional<StagedUnit> open(const std::filesystem::path& name);

    const nlohmann::json& result() const { return result_; }
    std::vector<StagedDocument> documents() const;
    void read_tokens(std::uint64_t first, std::span<std::uint32_t> ids) const;

  private:
    StagedUnit(monitoring::File file, std::uint32_t id_bytes, std::uint64_t tokens, std::uint64_t documents,
               nlohmann::json result);

    monitoring::File file_;
    std::uint32_t id_bytes_;
    std::uint64_t tokens_;
    std::uint64_t documents_;
    nlohmann::json result_;
};

}  // namespace kiban::data
