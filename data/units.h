// SPDX-License-Identifier: Apache-2.0
// Work units: the input files of a corpus cut into pieces of about unit_bytes, the same cut for any number of workers.
//
// An uncompressed file larger than a unit is cut into ranges (a unit owns each record that starts in its range);
// smaller files share a unit; a compressed file or an archive is never cut. Ids follow the sources and their sorted
// files.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "data/inputs.h"

namespace kiban::data {

struct Piece {
    std::uint32_t file = 0;  // ordinal in its source's list
    std::filesystem::path path;
    Format format = Format::text;
    Codec codec = Codec::none;
    std::string text_field;   // JSONL
    std::uint64_t begin = 0;  // bytes [begin, end) of the file; a compressed file's are those on disk
    std::uint64_t end = 0;
    std::uint64_t file_bytes = 0;
    bool tar = false;
    bool skip_bad_lines = false;  // JSONL: lines that are no documents are passed over, and told

    bool whole() const { return begin == 0 && end == file_bytes; }
    bool ends_file() const { return end == file_bytes; }
    /// One range of a text document that continues in other units: only the text of all of them names it.
    bool part_of_document() const { return format == Format::text && !whole(); }
};

struct Unit {
    std::uint32_t id = 0;
    std::uint32_t source = 0;
    std::uint64_t bytes = 0;
    std::vector<Piece> pieces;
};

/// Units of one source, numbered from `first_id`. `whole_texts`: a text is never cut.
std::vector<Unit> plan_units(const std::vector<InputFile>& files, const SourceConfig& source,
                             std::uint32_t source_index, std::uint64_t unit_bytes, std::uint32_t first_id,
                             bool whole_texts = false);

nlohmann::json to_json(const Piece& piece);
Piece piece_from_json(const nlohmann::json& json);

/// File names as JSON can hold them: '%' and, in names that are not UTF-8, every byte above 127 become %XX.
std::string encode_name(const std::string& name);
std::string decode_name(const std::string& encoded);

}  // namespace kiban::data
