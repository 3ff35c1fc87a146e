// SPDX-License-Identifier: Apache-2.0
// Personal data taken out of texts, and the account of it, which holds no value.
//
// Operators of a kind: keep; redact (the kind's tag, "<EMAIL>"); mask (letters and digits become '*'); pseudonym (a tag
// with 16 letters of HMAC-SHA-256 under a key outside the data, so that equal values stay equal wherever it is used);
// encrypt (data/privacy/value_cipher.h: the only one that can be undone, by who holds the key); drop (the whole
// document goes).
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "data/clean/config.h"
#include "data/clean/counts.h"
#include "data/privacy/kind.h"
#include "data/privacy/names.h"
#include "data/privacy/value_cipher.h"

namespace kiban::data {

enum class Operator : std::uint8_t { keep, redact, mask, pseudonym, encrypt, drop };

inline constexpr std::string_view kRuleVersion =
    "2";  // of detectors and operators: raise it when they find or write other things

/// By kind; without a list of names they are kept. ConfigError for a word that is no operator.
std::array<Operator, kKinds> operators_of(const AnonymiseConfig& config);
/// The kinds that are not kept.
KindSet taken_out_by(const std::array<Operator, kKinds>& operators);
std::string_view name_of(Operator op);

/// Whether an operator needs the key.
bool needs_key(const std::array<Operator, kKinds>& operators);
/// The key of the configuration's file. ConfigError as of read_key(): a key that can undo something is to be tight.
std::string key_of(const AnonymiseConfig& config);

class Anonymiser {
  public:
    using Counts = std::map<std::string, Redaction>;  // by kind

    /// Reads the key where an operator needs one, and the names. DataError when they are not those of the
    /// configuration's key_id and names_id.
    explicit Anonymiser(const AnonymiseConfig& config);

    /// In place, again and again until nothing is found that was to be taken out: what stands in a value's place can
    /// move a number nearer to the words that name it. The kind for which the document is to be dropped, or nothing;
    /// `redacted` counts what was taken out. DataError when it comes to no end, and, where anything is to be taken out,
    /// for a text that is not UTF-8 or has a zero byte (UTF-16 has): nothing would be found in it.
    std::optional<Kind> apply(std::string& text, Counts& redacted) const;

  private:
    struct Pass {
        bool found = false;
        std::optional<Kind> drop;
    };
    Pass take_out(std::string& text, Counts& counts) const;
    std::string replacement(Kind kind, std::string_view value) const;

    std::array<Operator, kKinds> operators_;
    KindSet taken_out_;  // what is not kept
    std::shared_ptr<const NameList> names_;
    std::string key_;
    std::optional<ValueCipher> cipher_;
    std::string salt_;
};

}  // namespace kiban::data
