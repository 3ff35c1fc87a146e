// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/anonymiser.h"

#include <openssl/evp.h>
#include <openssl/hmac.h>

#include <algorithm>
#include <vector>

#include "data/bpe/unicode.h"
#include "data/privacy/detect.h"
#include "data/privacy/digits.h"
#include "monitoring/error.h"
#include "monitoring/fault.h"

namespace kiban::data {
namespace {

constexpr std::array<std::string_view, 6> kOperatorNames = {"keep", "redact", "mask", "pseudonym", "encrypt", "drop"};
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

// One spelling of a value, so that its other spellings get the same pseudonym.
std::string canonical(Kind kind, std::string_view value) {
    const bool number = kind == Kind::card || kind == Kind::my_number || kind == Kind::corporate_number ||
                        kind == Kind::phone || kind == Kind::postal_code;
    std::string text;
    for (std::size_t at = 0; at < value.size();) {
        const Digit digit = digit_at(value, at);
        if (digit.bytes > 0) {
            text.push_back(digit.value);
        } else if (kind == Kind::name && static_cast<unsigned char>(value[at]) <= ' ') {
            if (!text.ends_with(' ')) text.push_back(' ');
        } else if (!number && (kind != Kind::iban || is_alnum(value[at]))) {
            const bool fold = kind != Kind::secret && value[at] >= 'A' && value[at] <= 'Z';
            text.push_back(fold ? static_cast<char>(value[at] + 32) : value[at]);
        }
        at += std::max<std::size_t>(digit.bytes, 1);
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
        &config.secret, &config.email,       &config.iban, &config.card, &config.my_number, &config.corporate_number,
        &config.phone,  &config.postal_code, &config.ip,   &config.mac,  &config.name};
    const Operator otherwise = operator_of(config.all, "all");
    std::array<Operator, kKinds> operators{};
    for (std::size_t kind = 0; kind < kKinds; ++kind)
        operators[kind] = words[kind]->empty() ? otherwise : operator_of(*words[kind], kKindNames[kind]);
    if (config.names_file.empty()) operators[static_cast<std::size_t>(Kind::name)] = Operator::keep;
    return operators;
}

KindSet taken_out_by(const std::array<Operator, kKinds>& operators) {
    KindSet kinds;
    for (std::size_t kind = 0; kind < kKinds; ++kind) kinds.set(kind, operators[kind] != Operator::keep);
    return kinds;
}

std::string_view name_of(Operator op) { return kOperatorNames[static_cast<std::size_t>(op)]; }

bool needs_key(const std::array<Operator, kKinds>& operators) {
    return std::ranges::any_of(operators,
                               [](Operator op) { return op == Operator::pseudonym || op == Operator::encrypt; });
}

std::string key_of(const AnonymiseConfig& config) {
    const auto operators = operators_of(config);
    return read_key(config.key_file, std::ranges::find(operators, Operator::encrypt) != operators.end());
}

Anonymiser::Anonymiser(const AnonymiseConfig& config)
    : operators_(operators_of(config)),
      taken_out_(taken_out_by(operators_)),
      names_(read_names(config.names_file)),
      salt_(config.salt) {
    if (names_ && names_->id() != config.names_id) {
        throw DataError("cannot take out the names of '{}': expected the list '{}', found '{}'", config.names_file,
                        config.names_id, names_->id());
    }
    if (!needs_key(operators_)) return;
    key_ = key_of(config);
    if (const std::string id = key_id(key_); id != config.key_id) {
        throw DataError("cannot anonymise with the key '{}': expected the key '{}', found '{}'", config.key_file,
                        config.key_id, id);
    }
    cipher_.emplace(key_);
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
    for (const Finding& finding : find_personal(text, taken_out_, names_.get())) {
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
    if (op == Operator::encrypt) return cipher_->encrypt(kind, value);
    const std::string message =
        fmt::format("kiban pseudonym 1\n{}\n{}\n{}", salt_, name_of(kind), canonical(kind, value));
    std::array<unsigned char, EVP_MAX_MD_SIZE> code{};
    unsigned bytes = 0;
    const auto* data = reinterpret_cast<const unsigned char*>(message.data());
    const unsigned char* made =
        HMAC(EVP_sha256(), key_.data(), static_cast<int>(key_.size()), data, message.size(), code.data(), &bytes);
    KIBAN_CHECK(made != nullptr && bytes >= kPseudonymBytes, "HMAC-SHA-256 gives {} bytes", bytes);
    return fmt::format("<{}:{}>", tag, letters_of({reinterpret_cast<const char*>(code.data()), kPseudonymBytes}));
}

}  // namespace kiban::data
