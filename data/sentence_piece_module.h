// SPDX-License-Identifier: Apache-2.0
// What kiban-sentencepiece.so offers. The library brings a protobuf of its own and shows its symbols to the whole
// process, where LibTorch's protobuf would call them: so it is loaded when a model of its kind is, with symbols of its
// own first. Private to data/sentence_piece.cpp and the module.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace kiban::data {

class SentencePieceLibrary {
  public:
    virtual ~SentencePieceLibrary() = default;

    // The library's reason, or empty.
    virtual std::string load(const std::string& model) = 0;
    virtual std::string encode(std::string_view text, std::vector<int>& ids) const = 0;
    virtual std::string decode(const std::vector<int>& ids, std::string& text) const = 0;

    virtual int pieces() const = 0;
    virtual int end_of_document() const = 0;  // negative: none
    virtual bool is_control(int id) const = 0;
    virtual std::string piece(int id) const = 0;
};

inline constexpr const char* kSentencePieceFactory = "kiban_make_sentence_piece";
using SentencePieceFactory = SentencePieceLibrary* (*)();

}  // namespace kiban::data
