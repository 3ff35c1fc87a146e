// SPDX-License-Identifier: Apache-2.0
// A SentencePiece model (Kudo and Richardson 2018) through its own library. Immutable, shared by threads.
//
// What text becomes is the model's and the library's affair: its normaliser may change characters, merge white space
// and put a blank before a text, and what its pieces do not cover is <unk>, unless it has bytes to fall back to.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::data {

class SentencePieceLibrary;

class SentencePiece {
  public:
    /// `model` is the bytes of a .model file; `where` names it in errors. DataError: not such a file, or one without a
    /// piece that ends documents (</s>). ConfigError: the library is not installed.
    SentencePiece(const std::string& model, const std::string& where);
    ~SentencePiece();

    std::uint32_t vocabulary() const;
    std::uint32_t end_of_document() const;
    /// How it writes a piece.
    std::string text_of(std::uint32_t id) const;
    /// Texts of its control pieces: none is ever made from text.
    const std::vector<std::string>& control_texts() const { return control_texts_; }

    /// Writes the ids of `text` to `ids`; how many. DataError when the library refuses the text.
    std::size_t encode(std::string_view text, std::vector<std::uint32_t>& ids) const;
    std::string decode(const std::vector<int>& ids) const;

  private:
    std::unique_ptr<SentencePieceLibrary> library_;
    std::vector<std::string> control_texts_;
};

}  // namespace kiban::data
