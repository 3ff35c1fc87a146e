// SPDX-License-Identifier: Apache-2.0
// Personal data taken out of texts, and the account of it, which holds no value.
//
// Operators of a kind: keep; redact (the kind's tag, "<EMAIL>"); mask (letters and digits become '*'); pseudonym (a tag
// with 16 letters of HMAC-SHA-256 under a key outside the data, so that equal values of a corpus stay equal); drop (the
// whole document goes). No operator can be undone.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>

#include "data/clean/config.h"
#include "data/clean/counts.h"
#include "data/privacy/kind.h"

namespace kiban::data {

enum class Operator : std::uint8_t { keep, redact, mask, pseudonym, drop };

inline constexpr std::string_view kRuleVersion =
    "1";  // of detectors and operators: raise it when they find or write other things

/// By kind. ConfigError for a word that is no operator.
std::array<Operator, kKinds> operators_of(const AnonymiseConfig& config);
std::string_view name_of(Operator op);

/// The first 16 hex digits of a digest that names the key in `file` and does not give it away. ConfigError for a key of
/// less than 32 bytes.
std::string key_id_of(const std::string& file);

class Anonymiser {
  public:
    using Counts = std::map<std::string, Redaction>;  // by kind

    /// Reads the key where an operator needs one. DataError when it is not the one of the configuration's key_id.
    explicit Anonymiser(const AnonymiseConfig& config);

    /// In place, again and again until nothing is found that was to be taken out: what stands in a value's place can
    /// move a number nearer to the words that name it. The kind for which the document is to be dropped, or nothing;
    /// `redacted` counts what was taken out. DataError when it comes to no end.
    std::optional<Kind> apply(std::string& text, Counts& redacted) const;

  private:
    struct Pass {
        bool found = false;
        std::optional<Kind> drop;
    };
    Pass take_out(std::string& text, Counts& counts) const;
    std::string replacement(Kind kind, std::string_view value) const;

    std::array<Operator, kKinds> operators_;
    std::string key_;
    std::string salt_;
};

}  // namespace kiban::data
