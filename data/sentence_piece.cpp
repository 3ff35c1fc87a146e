// SPDX-License-Identifier: Apache-2.0
#include "data/sentence_piece.h"

#include <sentencepiece_processor.h>

#include <algorithm>

#include "monitoring/error.h"

namespace kiban::data {

struct SentencePiece::Library {
    sentencepiece::SentencePieceProcessor processor;
};

SentencePiece::SentencePiece(const std::string& model, const std::string& where)
    : library_(std::make_unique<Library>()) {
    auto& processor = library_->processor;
    if (const auto status = processor.LoadFromSerializedProto(model); !status.ok()) {
        throw DataError("cannot read '{}': it is no SentencePiece model ({})", where, status.ToString());
    }
    const int end = processor.eos_id();
    if (end < 0 || end >= processor.GetPieceSize()) {
        throw DataError("cannot use tokenizer '{}': it has no piece that ends a document, expected '</s>'", where);
    }
    for (int id = 0; id < processor.GetPieceSize(); ++id) {
        if (processor.IsControl(id) && !processor.IdToPiece(id).empty())
            control_texts_.push_back(processor.IdToPiece(id));
    }
}

SentencePiece::~SentencePiece() = default;

std::uint32_t SentencePiece::vocabulary() const {
    return static_cast<std::uint32_t>(library_->processor.GetPieceSize());
}

std::uint32_t SentencePiece::end_of_document() const {
    return static_cast<std::uint32_t>(library_->processor.eos_id());
}

std::string SentencePiece::text_of(std::uint32_t id) const {
    return library_->processor.IdToPiece(static_cast<int>(id));
}

std::size_t SentencePiece::encode(std::string_view text, std::vector<std::uint32_t>& ids) const {
    std::vector<int> found;
    if (const auto status = library_->processor.Encode({text.data(), text.size()}, &found); !status.ok()) {
        throw DataError("cannot encode {} bytes of text with SentencePiece: {}", text.size(), status.ToString());
    }
    if (ids.size() < found.size()) ids.resize(found.size());
    std::ranges::transform(found, ids.begin(), [](int id) { return static_cast<std::uint32_t>(id); });
    return found.size();
}

std::string SentencePiece::decode(const std::vector<int>& ids) const {
    std::string text;
    if (const auto status = library_->processor.Decode(ids, &text); !status.ok()) {
        throw DataError("cannot decode {} pieces with SentencePiece: {}", ids.size(), status.ToString());
    }
    return text;
}

}  // namespace kiban::data
