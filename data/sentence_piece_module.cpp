// SPDX-License-Identifier: Apache-2.0
#include "data/sentence_piece_module.h"

#include <sentencepiece_processor.h>

namespace kiban::data {
namespace {

std::string reason(const sentencepiece::util::Status& status) { return status.ok() ? "" : status.ToString(); }

class Processor : public SentencePieceLibrary {
  public:
    std::string load(const std::string& model) override { return reason(processor_.LoadFromSerializedProto(model)); }
    std::string encode(std::string_view text, std::vector<int>& ids) const override {
        return reason(processor_.Encode({text.data(), text.size()}, &ids));
    }
    std::string decode(const std::vector<int>& ids, std::string& text) const override {
        return reason(processor_.Decode(ids, &text));
    }
    int pieces() const override { return processor_.GetPieceSize(); }
    int end_of_document() const override { return processor_.eos_id(); }
    bool is_control(int id) const override { return processor_.IsControl(id); }
    std::string piece(int id) const override { return processor_.IdToPiece(id); }

  private:
    sentencepiece::SentencePieceProcessor processor_;
};

}  // namespace
}  // namespace kiban::data

extern "C" kiban::data::SentencePieceLibrary* kiban_make_sentence_piece() { return new kiban::data::Processor(); }
