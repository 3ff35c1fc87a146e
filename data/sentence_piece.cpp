// SPDX-License-Identifier: Apache-2.0
#include "data/sentence_piece.h"

#include <dlfcn.h>

#include <algorithm>
#include <filesystem>

#include "data/sentence_piece_module.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

namespace fs = std::filesystem;

// A sanitizer's allocator and a scope of the module's own do not go together.
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL;
#else
constexpr int kFlags = RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND;
#endif

// Beside the executable, or where it was built.
fs::path module_file() {
    const fs::path built = KIBAN_SENTENCEPIECE_MODULE;
    std::error_code error;
    const fs::path beside = fs::read_symlink("/proc/self/exe", error).parent_path() / built.filename();
    return fs::exists(beside, error) ? beside : built;
}

SentencePieceFactory load_module() {
    const fs::path file = module_file();
    void* module = ::dlopen(file.c_str(), kFlags);
    void* factory = module != nullptr ? ::dlsym(module, kSentencePieceFactory) : nullptr;
    if (factory == nullptr)
        throw ConfigError("cannot use SentencePiece models: '{}' cannot be loaded: {}", file.string(), ::dlerror());
    return reinterpret_cast<SentencePieceFactory>(factory);
}

SentencePieceLibrary* make_library() {
    static const SentencePieceFactory factory = load_module();
    return factory();
}

}  // namespace

SentencePiece::SentencePiece(const std::string& model, const std::string& where) : library_(make_library()) {
    if (const std::string reason = library_->load(model); !reason.empty())
        throw DataError("cannot read '{}': it is no SentencePiece model ({})", where, reason);
    const int end = library_->end_of_document();
    if (end < 0 || end >= library_->pieces()) {
        throw DataError("cannot use tokenizer '{}': it has no piece that ends a document, expected '</s>'", where);
    }
    for (int id = 0; id < library_->pieces(); ++id) {
        if (library_->is_control(id) && !library_->piece(id).empty()) control_texts_.push_back(library_->piece(id));
    }
}

SentencePiece::~SentencePiece() = default;

std::uint32_t SentencePiece::vocabulary() const { return static_cast<std::uint32_t>(library_->pieces()); }

std::uint32_t SentencePiece::end_of_document() const { return static_cast<std::uint32_t>(library_->end_of_document()); }

std::string SentencePiece::text_of(std::uint32_t id) const { return library_->piece(static_cast<int>(id)); }

std::size_t SentencePiece::encode(std::string_view text, std::vector<std::uint32_t>& ids) const {
    std::vector<int> found;
    if (const std::string reason = library_->encode(text, found); !reason.empty())
        throw DataError("cannot encode {} bytes of text with SentencePiece: {}", text.size(), reason);
    if (ids.size() < found.size()) ids.resize(found.size());
    std::ranges::transform(found, ids.begin(), [](int id) { return static_cast<std::uint32_t>(id); });
    return found.size();
}

std::string SentencePiece::decode(const std::vector<int>& ids) const {
    std::string text;
    if (const std::string reason = library_->decode(ids, text); !reason.empty())
        throw DataError("cannot decode {} pieces with SentencePiece: {}", ids.size(), reason);
    return text;
}

}  // namespace kiban::data
