// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/detect.h"

#include <algorithm>
#include <optional>

#include "data/privacy/addresses.h"
#include "data/privacy/digits.h"
#include "data/privacy/marks.h"
#include "data/privacy/numbers.h"
#include "data/privacy/secrets.h"

namespace kiban::data {
namespace {

class Scan {
  public:
    Scan(std::string_view text, const KindSet& wanted) : text_(text), wanted_(wanted), marks_(text) {}

    std::vector<Finding> all(const NameList* names) {
        if (names != nullptr && wants(Kind::name)) names->find(text_, findings_);
        for (at_ = marks_.next(0); at_ < text_.size(); at_ = marks_.next(at_)) look();
        return resolved();
    }

  private:
    void look() {
        switch (text_[at_]) {
            case '@': return take(email_at(text_, at_, 1), 1);
            case ':': return look_at_colon();
            case '_':
            case '-':
            case 'A':
            case 'J': return take(wants(Kind::secret) ? secret_at(text_, at_) : std::nullopt, 1);
            case '\xEF': return look_at_wide();
            default: return look_at_digits();
        }
    }

    bool wants(Kind kind) const { return wanted_.test(static_cast<std::size_t>(kind)); }

    void take(std::optional<Finding> finding, std::size_t otherwise) {
        if (!finding || !wants(finding->kind)) {
            at_ += otherwise;
            return;
        }
        findings_.push_back(*finding);
        at_ = std::max(finding->end, at_ + 1);
    }

    // At the first digit of a group: whether a number begins within it is not asked.
    void look_at_digits() {
        const char before = at_ > 0 ? text_[at_ - 1] : ' ';
        const char before_that = at_ > 1 ? text_[at_ - 2] : ' ';
        const bool behind_letters =
            is_capital(before) && is_capital(before_that) && (at_ == 2 || !is_alnum(text_[at_ - 3]));
        if (behind_letters && wants(Kind::iban)) {
            if (const auto iban = iban_at(text_, at_)) return take(iban, 1);
        }
        const bool begins = !is_alnum(before) || (before == 'T' && !is_alnum(before_that));
        if (begins) {
            if (const auto number = number_at(text_, at_, wanted_)) return take(number, 1);
            if (before != '.' || !is_alnum(before_that)) {
                if (const auto address = ipv4_at(text_, at_)) return take(address, 1);
            }
        }
        ++at_;
    }

    void look_at_colon() {
        if (at_ + 1 < text_.size() && text_[at_ + 1] == '/') return take(url_credentials_at(text_, at_), 1);
        take(hex_address_at(text_, at_), 1);
    }

    void look_at_wide() {
        constexpr std::string_view kWideAt = "\xEF\xBC\xA0";
        if (text_.substr(at_, 3) == kWideAt) return take(email_at(text_, at_, 3), 3);
        if (digit_at(text_, at_).bytes == 0) {
            ++at_;
            return;
        }
        const bool inside = at_ >= 3 && digit_at(text_, at_ - 3).bytes == 3;
        if (inside) {
            at_ += 3;
        } else {
            take(number_at(text_, at_, wanted_), 3);
        }
    }

    static bool is_capital(char letter) { return letter >= 'A' && letter <= 'Z'; }

    // Of findings that overlap: the kind that stands first, of equals the longer, then the first one.
    std::vector<Finding> resolved() {
        std::vector<Finding> kept;
        std::ranges::sort(findings_, [](const Finding& x, const Finding& y) { return x.begin < y.begin; });
        for (const Finding& finding : findings_) {
            bool better = true;
            while (better && !kept.empty() && kept.back().end > finding.begin) {
                better = goes_before(finding, kept.back());
                if (better) kept.pop_back();
            }
            if (better) kept.push_back(finding);
        }
        return kept;
    }

    static bool goes_before(const Finding& x, const Finding& y) {
        if (x.kind != y.kind) return x.kind < y.kind;
        return x.end - x.begin > y.end - y.begin;
    }

    std::string_view text_;
    KindSet wanted_;
    Marks marks_;
    std::size_t at_ = 0;
    std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> find_personal(std::string_view text, const KindSet& wanted, const NameList* names) {
    return Scan(text, wanted).all(names);
}

}  // namespace kiban::data
