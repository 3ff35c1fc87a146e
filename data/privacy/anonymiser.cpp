// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/anonymiser.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <vector>

#include "data/bpe/unicode.h"
#include "data/digest.h"
#include "data/privacy/detect.h"
#include "data/privacy/digits.h"
#include "monitoring/error.h"
#include "monitoring/fault.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

constexpr std::array<std::string_view, 5> kOperatorNames = {"keep", "redact", "mask", "pseudonym", "drop"};
constexpr std::size_t kLeastKeyBytes = 32;
constexpr std::size_t kPseudonymBytes = 8;
constexpr int kMostPasses = 8;

Operator operator_of(const std::string& word, std::string_view key) {
    const auto* const found = std::ranges::find(kOperatorNames, word);
    if (found == kOperatorNames.end()) {
        throw ConfigError("data.clean.anonymise.{} is '{}', expected one of {}", key, word,
                          fmt::join(kOperatorNames, ", "));
    }
    return static_cast<Operator>(found - kOperatorNames.begin());
}

std::string read_key(const std::string& file) {
    std::string key = monitoring::read_text(file);
    if (key.size() >= kLeastKeyBytes) return key;
    throw ConfigError("the key '{}' has {} bytes, expected at least {}", file, key.size(), kLeastKeyBytes);
}

std::string key_id(const std::string& key) { return sha256("kiban key id 1\n" + sha256(key)).substr(0, 16); }

// One spelling of a value, so that its other spellings get the same pseudonym.
std::string canonical(Kind kind, std::string_view value) {
    const bool number = kind == Kind::card || kind == Kind::my_number || kind == Kind::corporate_number ||
                        kind == Kind::phone || kind == Kind::postal_code;
    std::string text;
    for (std::size_t at = 0; at < value.size();) {
        const Digit digit = digit_at(value, at);
        if (digit.bytes > 0) {
            text.push_back(digit.value);
        } else if (!number && (kind != Kind::iban || is_alnum(value[at]))) {
            const bool fold = kind != Kind::secret && value[at] >= 'A' && value[at] <= 'Z';
            text.push_back(fold ? static_cast<char>(value[at] + 32) : value[at]);
        }
        at += std::max<std::size_t>(digit.bytes, 1);
    }
    return text;
}

// Letters alone: digits could look like another number.
std::string letters_of(const unsigned char* bytes, std::size_t count) {
    std::string text;
    for (std::size_t i = 0; i < count; ++i) {
        text.push_back(static_cast<char>('a' + bytes[i] / 16));
        text.push_back(static_cast<char>('a' + bytes[i] % 16));
    }
    return text;
}

std::string masked(std::string_view value) {
    std::string text;
    for (std::size_t at = 0; at < value.size();) {
        const Digit digit = digit_at(value, at);
        const bool hidden = digit.bytes > 0 || is_alnum(value[at]) || static_cast<unsigned char>(value[at]) >= 0x80;
        text.push_back(hidden ? '*' : value[at]);
        at += std::max<std::size_t>(digit.bytes, 1);
    }
    return text;
}

}  // namespace

std::array<Operator, kKinds> operators_of(const AnonymiseConfig& config) {
    const std::array<const std::string*, kKinds> words = {
        &config.secret,           &config.email, &config.iban,        &config.card, &config.my_number,
        &config.corporate_number, &config.phone, &config.postal_code, &config.ip,   &config.mac};
    const Operator otherwise = operator_of(config.all, "all");
    std::array<Operator, kKinds> operators{};
    for (std::size_t kind = 0; kind < kKinds; ++kind)
        operators[kind] = words[kind]->empty() ? otherwise : operator_of(*words[kind], kKindNames[kind]);
    return operators;
}

KindSet taken_out_by(const std::array<Operator, kKinds>& operators) {
    KindSet kinds;
    for (std::size_t kind = 0; kind < kKinds; ++kind) kinds.set(kind, operators[kind] != Operator::keep);
    return kinds;
}

std::string_view name_of(Operator op) { return kOperatorNames[static_cast<std::size_t>(op)]; }

std::string key_id_of(const std::string& file) { return key_id(read_key(file)); }

Anonymiser::Anonymiser(const AnonymiseConfig& config)
    : operators_(operators_of(config)), taken_out_(taken_out_by(operators_)), salt_(config.salt) {
    if (std::ranges::find(operators_, Operator::pseudonym) == operators_.end()) return;
    key_ = read_key(config.key_file);
    if (const std::string id = key_id(key_); id != config.key_id) {
        throw DataError("cannot make pseudonyms with the key '{}': expected the key '{}', found '{}'", config.key_file,
                        config.key_id, id);
    }
}

std::optional<Kind> Anonymiser::apply(std::string& text, Counts& redacted) const {
    monitoring::fault_point("data.anonymise");
    if (taken_out_.none()) return std::nullopt;
    if (text.find('\0') != std::string::npos || !is_utf8(text))
        throw DataError("expected text in UTF-8 without zero bytes, found other bytes (UTF-16, or no text)");
    Counts counts;
    for (int pass = 0;; ++pass) {
        if (pass == kMostPasses) throw DataError("personal data is still found after it was taken out {} times", pass);
        const Pass done = take_out(text, counts);
        if (done.drop) return done.drop;
        if (!done.found) break;
    }
    for (const auto& [kind, redaction] : counts) redacted[kind] += redaction;
    return std::nullopt;
}

Anonymiser::Pass Anonymiser::take_out(std::string& text, Counts& counts) const {
    std::string out;
    std::size_t kept = 0;
    Pass pass;
    for (const Finding& finding : find_personal(text, taken_out_)) {
        const Operator op = operators_[static_cast<std::size_t>(finding.kind)];
        if (op == Operator::drop) return {true, finding.kind};
        const std::string_view value = std::string_view(text).substr(finding.begin, finding.end - finding.begin);
        const std::string instead = replacement(finding.kind, value);
        out.append(text, kept, finding.begin - kept);
        out += instead;
        kept = finding.end;
        pass.found = true;
        Redaction& redaction = counts[std::string(name_of(finding.kind))];
        redaction.documents = 1;
        ++redaction.values;
        redaction.bytes_before += value.size();
        redaction.bytes_after += instead.size();
    }
    if (!pass.found) return pass;
    out.append(text, kept);
    text = std::move(out);
    return pass;
}

std::string Anonymiser::replacement(Kind kind, std::string_view value) const {
    const std::string_view tag = kKindTags[static_cast<std::size_t>(kind)];
    const Operator op = operators_[static_cast<std::size_t>(kind)];
    if (op == Operator::mask) return masked(value);
    if (op == Operator::redact) return fmt::format("<{}>", tag);
    const std::string message =
        fmt::format("kiban pseudonym 1\n{}\n{}\n{}", salt_, name_of(kind), canonical(kind, value));
    std::array<unsigned char, EVP_MAX_MD_SIZE> code{};
    unsigned bytes = 0;
    const auto* data = reinterpret_cast<const unsigned char*>(message.data());
    const unsigned char* made =
        HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), data, message.size(), code.data(), &bytes);
    KIBAN_CHECK(made != nullptr && bytes >= kPseudonymBytes, "HMAC-SHA-256 gives {} bytes", bytes);
    return fmt::format("<{}:{}>", tag, letters_of(code.data(), kPseudonymBytes));
}

}  // namespace kiban::data
