// SPDX-License-Identifier: Apache-2.0
// The two tasks of a preparation, and where what they write lies. Both are JSON, since they travel between processes.
//
//   tokenize  {id, kind, directory, unit, tokenizer, held_out_below, pieces}
//             -> {unit, documents, train, holdout, leaves}: tokens of each split; leaves (hex) only for a text's range
//   shard     {id, kind, directory, shard, tokens, tokenizer, config_sha256,
//              parts: [{unit, held_out, skip, take, document}]}
//             -> {shard, tokens, bytes, sha256, blocks}: blocks is the block checksums in hex
// Both publish atomically and give the durable result when another run of the same task was faster. A tokenize task
// whose corpus another process finished meanwhile gives {unit, superseded}.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <string>

namespace kiban::data {

std::filesystem::path published_manifest(const std::filesystem::path& corpus);
std::filesystem::path staging_directory(const std::filesystem::path& corpus);
std::filesystem::path staged_unit_file(const std::filesystem::path& corpus, std::uint64_t unit);
std::filesystem::path shard_result_file(const std::filesystem::path& corpus, std::uint64_t shard);
std::string shard_name(std::uint64_t shard);

nlohmann::json run_tokenize(const nlohmann::json& task);
nlohmann::json run_shard(const nlohmann::json& task);

}  // namespace kiban::data
