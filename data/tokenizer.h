// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back.
//
// `bytes`: ids 0-255 are the bytes, 256 ends a document. Otherwise byte-level BPE as a tokenizer.json describes it
// (data/bpe/): any bytes encode, and decode to themselves. Text that looks like a special token is ordinary text.
// Immutable and thread-safe; what encodes documents is a DocumentEncoder, one a thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "data/bpe/encoder.h"
#include "data/bpe/segments.h"

namespace kiban::data {

class Tokenizer {
  public:
    static constexpr std::uint32_t kMostTokens = 1u << 20;
    static constexpr const char* kTrainedEnd = "<|endoftext|>";

    /// ConfigError unless it is bytes, bpe:N (N from 257 to kMostTokens) or the name of a .json file.
    static void check_name(const std::string& name);
    /// N of bpe:N; nullopt for another name.
    static std::optional<std::uint32_t> trained_vocabulary(const std::string& name);
    static bool is_file(const std::string& name) { return name.ends_with(".json"); }
    /// What the name alone says: 257 or N; nullopt for a file.
    static std::optional<std::uint32_t> vocabulary_of(const std::string& name);
    /// `vocabulary_of`, or that of the file (relative to `base`).
    static std::uint32_t vocabulary_of(const std::string& name, const std::filesystem::path& base);

    /// The byte tokenizer; ConfigError for another name.
    explicit Tokenizer(const std::string& name);
    /// A tokenizer.json. DataError: a file that is damaged, or without a token that ends documents; ConfigError: one
    /// that asks for what is not supported. A process keeps the last one it read.
    static Tokenizer from_file(const std::filesystem::path& file, const std::string& name = "tokenizer.json");

    const std::string& name() const { return name_; }      // bytes, bpe:N or tokenizer.json
    const std::string& sha256() const { return sha256_; }  // of the tokenizer.json's bytes; of the name for `bytes`
    std::uint32_t vocabulary() const { return model_ ? model_->vocabulary() : 257; }
    std::uint32_t end_of_document() const { return end_of_document_; }
    /// How its tokenizer.json spells the end of a document; empty for `bytes`.
    std::string end_text() const;
    const std::shared_ptr<const BpeModel>& bpe() const { return model_; }  // null for `bytes`

    std::vector<std::uint32_t> encode(std::string_view text) const;
    /// The bytes of the ids; an end of document adds nothing. DataError for an id outside the vocabulary.
    std::string decode(std::span<const std::int64_t> ids) const;

  private:
    Tokenizer(std::string name, std::string sha256, std::shared_ptr<const BpeModel> model);

    std::string name_;
    std::string sha256_;
    std::shared_ptr<const BpeModel> model_;
    std::uint32_t end_of_document_ = 256;
};

/// Documents that come in parts, to ids that do not depend on the parts.
class DocumentEncoder {
  public:
    using Give = std::function<void(std::span<const std::uint32_t>)>;

    explicit DocumentEncoder(const Tokenizer& tokenizer);

    /// More text of the document; gives the ids that are settled.
    void add(std::span<const std::byte> text, const Give& give);
    /// The document's text is complete: gives the other ids (the end of document is the caller's).
    void end(const Give& give);
    /// How often the documents so far spelled a special token, which was encoded as ordinary text.
    std::uint64_t special_texts() const { return special_texts_; }

  private:
    void add_bytes(std::span<const std::byte> text, const Give& give);
    void encode_segment(std::string_view text, std::size_t stop, const Give& give);

    std::optional<BpeEncoder> bpe_;
    Segmenter segments_;
    std::vector<std::uint32_t> ids_;
    std::uint64_t special_texts_ = 0;
};

/// The text of a tokenizer.json that a run file names. ConfigError when there is no such file.
std::string read_tokenizer_file(const std::filesystem::path& file, const std::string& name);

}  // namespace kiban::data
