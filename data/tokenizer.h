// SPDX-License-Identifier: Apache-2.0
// Text to token ids and back.
//
// `bytes`: ids 0-255 are the bytes, 256 ends a document. Otherwise byte-level BPE as a tokenizer.json describes it
// (data/bpe/): any bytes encode, and decode to themselves; or a SentencePiece .model (data/sentence_piece.h), which may
// change text. Text that looks like a special token is ordinary text.
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
#include <utility>
#include <vector>

#include "data/bpe/encoder.h"
#include "data/bpe/segments.h"
#include "data/sentence_piece.h"

namespace kiban::data {

class Tokenizer {
  public:
    static constexpr std::uint32_t kMostTokens = 1u << 20;
    static constexpr const char* kTrainedEnd = "<|endoftext|>";

    /// ConfigError unless it is bytes, bpe:N (N from 257 to kMostTokens) or the name of a .json or .model file.
    static void check_name(const std::string& name);
    /// N of bpe:N; nullopt for another name.
    static std::optional<std::uint32_t> trained_vocabulary(const std::string& name);
    static bool is_file(const std::string& name) { return name.ends_with(".json") || name.ends_with(".model"); }
    /// What a corpus or an exported model calls the file of a tokenizer of this name: tokenizer.json, tokenizer.model.
    static std::string kept_as(const std::string& name) {
        return name.ends_with(".model") ? "tokenizer.model" : "tokenizer.json";
    }
    /// What the name alone says: 257 or N; nullopt for a file.
    static std::optional<std::uint32_t> vocabulary_of(const std::string& name);
    /// `vocabulary_of`, or that of the file (relative to `base`).
    static std::uint32_t vocabulary_of(const std::string& name, const std::filesystem::path& base);

    /// The byte tokenizer; ConfigError for another name.
    explicit Tokenizer(const std::string& name);
    /// A tokenizer.json or, where its name ends so, a SentencePiece .model; its name is kept_as() or `name`. DataError:
    /// a file that is damaged, or without a token that ends documents; ConfigError: one that asks for what is not
    /// supported. A process keeps the last tokenizer.json it read.
    static Tokenizer from_file(const std::filesystem::path& file, const std::string& name = "");

    const std::string& name() const { return name_; }      // bytes, bpe:N, tokenizer.json or tokenizer.model
    const std::string& sha256() const { return sha256_; }  // of the file's bytes; of the name for `bytes`
    std::uint32_t vocabulary() const {
        return model_ ? model_->vocabulary() : sentence_piece_ ? sentence_piece_->vocabulary() : 257;
    }
    std::uint32_t end_of_document() const { return end_of_document_; }
    /// How its file spells the end of a document; empty for `bytes`.
    std::string end_text() const;
    bool has_file() const { return model_ || sentence_piece_; }
    const std::shared_ptr<const BpeModel>& bpe() const { return model_; }  // null for others
    const std::shared_ptr<const SentencePiece>& sentence_piece() const { return sentence_piece_; }

    std::vector<std::uint32_t> encode(std::string_view text) const;
    /// The bytes of the ids (SentencePiece: the text of each document); an end of document adds nothing. DataError for
    /// an id outside the vocabulary.
    std::string decode(std::span<const std::int64_t> ids) const;

  private:
    Tokenizer(std::string name, std::string sha256) : name_(std::move(name)), sha256_(std::move(sha256)) {}
    std::string decode_bytes(std::span<const std::int64_t> ids) const;
    std::string decode_pieces(std::span<const std::int64_t> ids) const;

    std::string name_;
    std::string sha256_;
    std::shared_ptr<const BpeModel> model_;
    std::shared_ptr<const SentencePiece> sentence_piece_;
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
    void encode_pieces(std::string_view text, const Give& give);

    std::optional<BpeEncoder> bpe_;
    std::shared_ptr<const SentencePiece> sentence_piece_;
    std::optional<Matcher> control_;  // of SentencePiece: finds the texts of its control pieces
    Segmenter segments_;
    std::vector<std::uint32_t> ids_;
    std::uint64_t special_texts_ = 0;
};

/// The bytes of a tokenizer's file that a run file names. ConfigError when there is no such file.
std::string read_tokenizer_file(const std::filesystem::path& file, const std::string& name);

}  // namespace kiban::data
