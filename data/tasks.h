// SPDX-License-Identifier: Apache-2.0
// The tasks of a preparation, and where what they write lies. All are JSON, since they travel between processes.
//
//   evaluation  {id, kind, directory, clean, names, pieces} -> {evaluation, files: [[name, documents, too_short,
//   runs]]} count     {id, kind, directory, unit, unicode, held_out_below, pieces, counted}: counted[i] bytes of
//   pieces[i]
//             -> {unit, leaves}: leaves (hex) only for a text's range
//   train     {id, kind, directory, tokenizer, unicode, units} -> {tokenizer: digest, words, least_count, left_out,
//             left_out_bytes}
//   tokenize  {id, kind, directory, unit, tokenizer, held_out_below, pieces}
//             -> {unit, documents, train, holdout, leaves, special_texts, cleaned, rejected}: tokens of each split
//   dedupe    {id, kind, directory, range, ranges, units} -> {range, reason, units: [[unit, documents, train,
//   holdout]]}:
//             what of each unit is to be left out, and why
//   band      {id, kind, directory, band, units} -> {band, links}
//   cluster   {id, kind, directory, range} -> as dedupe, behind its ranges
//   shard     {id, kind, directory, shard, tokens, tokenizer, config_sha256, duplicate_ranges,
//              parts: [{unit, held_out, skip, take, document}]}
//             -> {shard, tokens, bytes, sha256, blocks}: blocks is the block checksums in hex
// `clean` (of count and tokenize; {} for nothing) is the configuration of data/clean/. `tokenizer` is {name, sha256,
// unicode}: that of the file beside the corpus, or `bytes`. All publish atomically and give the durable result when
// another run of the same task was faster. A task that needs what was staged, when another process has finished the
// corpus meanwhile, gives {superseded}.
#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "data/clean/counts.h"
#include "data/documents.h"
#include "data/tokenizer.h"

namespace kiban::data {

class NgramSet;

std::filesystem::path published_manifest(const std::filesystem::path& corpus);
std::filesystem::path staging_directory(const std::filesystem::path& corpus);
/// `name` as the tokenizer's, or as the run file names it.
std::filesystem::path tokenizer_file(const std::filesystem::path& corpus, const std::string& name);
std::filesystem::path word_counts_file(const std::filesystem::path& corpus, std::uint64_t unit);
std::filesystem::path staged_unit_file(const std::filesystem::path& corpus, std::uint64_t unit);
std::filesystem::path shard_result_file(const std::filesystem::path& corpus, std::uint64_t shard);
std::string shard_name(std::uint64_t shard);

nlohmann::json to_json(const Tokenizer& tokenizer);
/// The tokenizer that a task names. DataError when the file has another digest than the one it was planned with, or
/// when this machine's Unicode tables are of another version.
Tokenizer tokenizer_from_json(const nlohmann::json& json, const std::filesystem::path& corpus);
/// DataError when this machine's Unicode tables are of another version.
void check_unicode(const std::string& planned);

/// The runs of words of the evaluation files (data/clean/ngram_set.h).
std::filesystem::path evaluation_file(const std::filesystem::path& corpus);
nlohmann::json run_evaluation(const nlohmann::json& task);
nlohmann::json run_count(const nlohmann::json& task);
nlohmann::json run_train(const nlohmann::json& task);

/// What the documents of a task are compared with, read from disk; null when that is nothing.
std::shared_ptr<const NgramSet> evaluation_of(const nlohmann::json& task);
/// `sink` behind the cleaning that a task asks for. `work` reads documents into what it is given.
CleanCounts with_cleaning(const nlohmann::json& task, const std::shared_ptr<const NgramSet>& evaluation,
                          DocumentSink& sink, const std::function<void(DocumentSink&)>& work);
nlohmann::json run_tokenize(const nlohmann::json& task);
nlohmann::json run_shard(const nlohmann::json& task);

}  // namespace kiban::data
