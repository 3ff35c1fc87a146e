// SPDX-License-Identifier: Apache-2.0
#include "data/tokenizer.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <mutex>
#include <utility>

#include "data/digest.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

constexpr std::string_view kTrained = "bpe:";
constexpr std::uint32_t kLeastTokens = 257;  // the bytes, and the end of a document

// What the vocabularies in use call the token that ends a document.
constexpr std::array kEnds = {Tokenizer::kTrainedEnd, "<|end_of_text|>",       "</s>", "<eos>", "<|eos|>",
                              "<|end▁of▁sentence|>",  "<｜end▁of▁sentence｜>", "[EOS]"};

std::shared_ptr<const BpeModel> read_model(const std::string& text, const std::string& digest,
                                           const std::string& where) {
    static std::mutex mutex;
    static std::string last_digest;
    static std::shared_ptr<const BpeModel> last;
    const std::lock_guard lock(mutex);
    if (!last || last_digest != digest) {
        last = std::make_shared<const BpeModel>(parse_tokenizer_json(text, where));
        last_digest = digest;
    }
    return last;
}

std::uint32_t end_of(const BpeModel& model, const std::string& where) {
    for (const char* end : kEnds) {
        for (const AddedToken& token : model.definition().added) {
            if (token.special && token.text == end) return token.id;
        }
    }
    throw DataError("cannot use tokenizer '{}': it has no special token that ends a document, expected one of {}",
                    where, fmt::join(kEnds, ", "));
}

}  // namespace

std::optional<std::uint32_t> Tokenizer::trained_vocabulary(const std::string& name) {
    if (!name.starts_with(kTrained)) return std::nullopt;
    std::uint32_t tokens = 0;
    const char* end = name.data() + name.size();
    const auto [read_to, error] = std::from_chars(name.data() + kTrained.size(), end, tokens);
    if (error != std::errc{} || read_to != end || tokens < kLeastTokens || tokens > kMostTokens) {
        throw ConfigError("data.tokenizer '{}': expected 'bpe:' and a number of tokens from {} to {}", name,
                          kLeastTokens, kMostTokens);
    }
    return tokens;
}

void Tokenizer::check_name(const std::string& name) {
    if (name == "bytes" || trained_vocabulary(name) || is_file(name)) return;
    throw ConfigError(
        "data.tokenizer '{}' is unknown: expected 'bytes', 'bpe:32768' (trained on the corpus, with so many "
        "tokens) or the path of a tokenizer.json or of a SentencePiece .model",
        name);
}

std::optional<std::uint32_t> Tokenizer::vocabulary_of(const std::string& name) {
    check_name(name);
    if (name == "bytes") return Tokenizer(name).vocabulary();
    return trained_vocabulary(name);
}

std::uint32_t Tokenizer::vocabulary_of(const std::string& name, const std::filesystem::path& base) {
    const auto known = vocabulary_of(name);
    return known ? *known : from_file(base / name).vocabulary();
}

Tokenizer::Tokenizer(const std::string& name) : name_(name), sha256_(data::sha256(name)) {
    if (name != "bytes") throw ConfigError("tokenizer '{}' needs its tokenizer.json, expected 'bytes'", name);
}

std::string read_tokenizer_file(const std::filesystem::path& file, const std::string& name) {
    auto text = monitoring::read_text_if_exists(file);
    if (!text) throw ConfigError("data.tokenizer '{}': there is no file '{}'", name, file.string());
    return std::move(*text);
}

Tokenizer Tokenizer::from_file(const std::filesystem::path& file, const std::string& name) {
    const std::string text = read_tokenizer_file(file, name);
    Tokenizer tokenizer(name.empty() ? kept_as(file.string()) : name, data::sha256(text));
    if (kept_as(file.string()) == "tokenizer.model") {
        tokenizer.sentence_piece_ = std::make_shared<const SentencePiece>(text, file.string());
        tokenizer.end_of_document_ = tokenizer.sentence_piece_->end_of_document();
    } else {
        tokenizer.model_ = read_model(text, tokenizer.sha256_, file.string());
        tokenizer.end_of_document_ = end_of(*tokenizer.model_, file.string());
    }
    return tokenizer;
}

std::string Tokenizer::end_text() const {
    if (sentence_piece_) return sentence_piece_->text_of(end_of_document_);
    if (!model_) return "";
    for (const AddedToken& token : model_->definition().added) {
        if (token.id == end_of_document_) return token.text;
    }
    throw InternalError("no added token of '{}' ends documents", name_);
}

std::vector<std::uint32_t> Tokenizer::encode(std::string_view text) const {
    std::vector<std::uint32_t> ids;
    DocumentEncoder encoder(*this);
    const auto give = [&](std::span<const std::uint32_t> more) { ids.insert(ids.end(), more.begin(), more.end()); };
    encoder.add(std::as_bytes(std::span(text)), give);
    encoder.end(give);
    return ids;
}

std::string Tokenizer::decode(std::span<const std::int64_t> ids) const {
    for (const std::int64_t id : ids) {
        if (id < 0 || id >= std::int64_t{vocabulary()}) {
            throw DataError("cannot decode token {}: expected 0 to {}", id, vocabulary() - 1);
        }
    }
    return sentence_piece_ ? decode_pieces(ids) : decode_bytes(ids);
}

std::string Tokenizer::decode_pieces(std::span<const std::int64_t> ids) const {
    std::string text;
    std::vector<int> document;
    for (const std::int64_t id : ids) {
        if (id != std::int64_t{end_of_document_}) {
            document.push_back(static_cast<int>(id));
            continue;
        }
        text += sentence_piece_->decode(document);
        document.clear();
    }
    return text + sentence_piece_->decode(document);
}

std::string Tokenizer::decode_bytes(std::span<const std::int64_t> ids) const {
    std::string text;
    text.reserve(ids.size());
    for (const std::int64_t id : ids) {
        if (id == std::int64_t{end_of_document_}) continue;
        if (!model_) {
            text.push_back(static_cast<char>(id));
            continue;
        }
        const std::string* bytes = model_->bytes_of(static_cast<std::uint64_t>(id));
        if (bytes == nullptr) throw DataError("cannot decode token {}: the tokenizer has none with this id", id);
        text += *bytes;
    }
    return text;
}

DocumentEncoder::DocumentEncoder(const Tokenizer& tokenizer) : sentence_piece_(tokenizer.sentence_piece()) {
    if (tokenizer.bpe()) bpe_.emplace(tokenizer.bpe());
    if (sentence_piece_ && !sentence_piece_->control_texts().empty())
        control_.emplace(Regex::any_of(sentence_piece_->control_texts()));
    ids_.resize(kSegmentBytes + kContextBytes + BpeEncoder::kSlack);
}

void DocumentEncoder::add(std::span<const std::byte> text, const Give& give) {
    if (!bpe_ && !sentence_piece_) return add_bytes(text, give);
    segments_.add(text, [&](std::string_view segment, std::size_t stop) { encode_segment(segment, stop, give); });
}

void DocumentEncoder::end(const Give& give) {
    segments_.end([&](std::string_view segment, std::size_t stop) { encode_segment(segment, stop, give); });
}

void DocumentEncoder::encode_segment(std::string_view text, std::size_t stop, const Give& give) {
    if (sentence_piece_) return encode_pieces(text.substr(0, stop), give);
    const std::size_t made = bpe_->encode(text, stop, ids_.data());
    special_texts_ += bpe_->count_special(text.substr(0, stop));
    give(std::span(ids_).first(made));
}

void DocumentEncoder::encode_pieces(std::string_view text, const Give& give) {
    const std::size_t made = sentence_piece_->encode(text, ids_);
    give(std::span(ids_).first(made));
    if (!control_) return;
    for (auto found = control_->find(text, 0); found; found = control_->find(text, found->end)) ++special_texts_;
}

void DocumentEncoder::add_bytes(std::span<const std::byte> text, const Give& give) {
    while (!text.empty()) {
        const auto part = text.first(std::min(text.size(), kSegmentBytes));
        std::transform(part.begin(), part.end(), ids_.begin(),
                       [](std::byte byte) { return std::to_integer<std::uint32_t>(byte); });
        give(std::span(ids_).first(part.size()));
        text = text.subspan(part.size());
    }
}

}  // namespace kiban::data
