// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/regex.h"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <algorithm>
#include <array>

#include "data/bpe/unicode.h"
#include "monitoring/error.h"

namespace kiban::data {
namespace {

constexpr std::size_t kStackStartBytes = 32u << 10;
constexpr std::size_t kStackMostBytes = 16u << 20;

std::string message_of(int code) {
    std::array<PCRE2_UCHAR, 256> text{};
    pcre2_get_error_message(code, text.data(), text.size());
    return reinterpret_cast<const char*>(text.data());
}

// PCRE2's names for White_Space, which it allows inside and outside of character classes.
std::string with_unicode_spaces(const std::string& pattern) {
    std::string result;
    for (std::size_t i = 0; i < pattern.size(); ++i) {
        if (pattern[i] != '\\' || i + 1 == pattern.size()) {
            result.push_back(pattern[i]);
            continue;
        }
        const char next = pattern[++i];
        if (next == 's' || next == 'S') {
            result += next == 's' ? "\\p{White_Space}" : "\\P{White_Space}";
        } else {
            result += {'\\', next};
        }
    }
    return result;
}

std::shared_ptr<void> compile(const std::string& pattern, const std::string& shown, std::uint32_t options) {
    int error = 0;
    PCRE2_SIZE offset = 0;
    pcre2_code* code =
        pcre2_compile(reinterpret_cast<PCRE2_SPTR>(pattern.data()), pattern.size(), options, &error, &offset, nullptr);
    if (code == nullptr) {
        throw ConfigError("cannot compile the pattern '{}': {} near character {}", shown, message_of(error), offset);
    }
    std::shared_ptr<void> owned(code, [](void* pointer) { pcre2_code_free(static_cast<pcre2_code*>(pointer)); });
    pcre2_jit_compile(code, PCRE2_JIT_COMPLETE);  // where it cannot, PCRE2 interprets the pattern
    std::uint32_t matches_empty = 0;
    pcre2_pattern_info(code, PCRE2_INFO_MATCHEMPTY, &matches_empty);
    if (matches_empty != 0) {
        throw ConfigError("cannot cut text with the pattern '{}': it matches the empty text", shown);
    }
    return owned;
}

}  // namespace

std::string unicode_version() {
    std::array<char, 64> text{};
    pcre2_config(PCRE2_CONFIG_UNICODE_VERSION, text.data());
    return text.data();
}

Regex::Regex(const std::string& pattern)
    : pattern_(pattern),
      code_(compile(with_unicode_spaces(pattern), pattern,
                    PCRE2_UTF | PCRE2_UCP | PCRE2_DOLLAR_ENDONLY | PCRE2_NEVER_BACKSLASH_C)) {}

Regex Regex::any_of(std::vector<std::string> words) {
    std::ranges::stable_sort(words, std::greater<>(), &std::string::size);
    Regex regex;
    for (const std::string& word : words) {
        KIBAN_CHECK(!word.empty(), "an empty word to look for");
        if (!regex.pattern_.empty()) regex.pattern_ += '|';
        for (const char letter : word) regex.pattern_ += fmt::format("\\x{:02x}", static_cast<unsigned char>(letter));
    }
    regex.code_ = compile(regex.pattern_, regex.pattern_, 0);
    return regex;
}

Matcher::Matcher(const Regex& regex) : pattern_(regex.pattern_), code_(regex.code_) {
    context_ = {pcre2_match_context_create(nullptr),
                [](void* pointer) { pcre2_match_context_free(static_cast<pcre2_match_context*>(pointer)); }};
    stack_ = {pcre2_jit_stack_create(kStackStartBytes, kStackMostBytes, nullptr),
              [](void* pointer) { pcre2_jit_stack_free(static_cast<pcre2_jit_stack*>(pointer)); }};
    data_ = {pcre2_match_data_create_from_pattern(static_cast<pcre2_code*>(code_.get()), nullptr),
             [](void* pointer) { pcre2_match_data_free(static_cast<pcre2_match_data*>(pointer)); }};
    if (!context_ || !stack_ || !data_) throw std::bad_alloc();
    pcre2_jit_stack_assign(static_cast<pcre2_match_context*>(context_.get()), nullptr, stack_.get());
}

std::optional<Matcher::Match> Matcher::find(std::string_view text, std::size_t from) {
    auto* data = static_cast<pcre2_match_data*>(data_.get());
    const int found =
        pcre2_match(static_cast<pcre2_code*>(code_.get()), reinterpret_cast<PCRE2_SPTR>(text.data()), text.size(), from,
                    PCRE2_NO_UTF_CHECK, data, static_cast<pcre2_match_context*>(context_.get()));
    if (found == PCRE2_ERROR_NOMATCH) return std::nullopt;
    if (found < 0) {
        throw DataError("cannot cut text of {} bytes with the pattern '{}' from byte {} on: {}", text.size(), pattern_,
                        from, message_of(found));
    }
    const PCRE2_SIZE* ends = pcre2_get_ovector_pointer(data);
    if (ends[1] <= ends[0]) {
        throw DataError("cannot cut text with the pattern '{}': it matches the empty text at byte {}", pattern_,
                        ends[0]);
    }
    return Match{ends[0], ends[1]};
}

}  // namespace kiban::data
