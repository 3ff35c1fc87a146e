// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/splitter.h"

#include <algorithm>

#include "data/bpe/unicode.h"

namespace kiban::data {
namespace {

class RegexSplitter : public Splitter {
  public:
    explicit RegexSplitter(const std::vector<Regex>& regexes) : matchers_(regexes.begin(), regexes.end()) {}

    void begin(std::string_view text) override {
        given_ = 0;
        ends_.assign(text.empty() ? 0 : 1, static_cast<std::uint32_t>(text.size()));
        bad_bytes_.clear();
        if (!is_utf8(text)) text = repaired(text);
        if (!bad_bytes_.empty()) ends_[0] = static_cast<std::uint32_t>(text.size());
        for (Matcher& matcher : matchers_) cut(text, matcher);
        if (!bad_bytes_.empty()) map_back();
    }

    std::size_t next(std::span<std::uint32_t> ends) override {
        const std::size_t count = std::min(ends.size(), ends_.size() - given_);
        std::copy_n(ends_.begin() + static_cast<std::ptrdiff_t>(given_), count, ends.begin());
        given_ += count;
        return count;
    }

  private:
    // A pattern sees each piece of the one before as a text of its own; what lies between its matches is a piece too.
    void cut(std::string_view text, Matcher& matcher) {
        std::vector<std::uint32_t> before;
        before.swap(ends_);
        std::size_t start = 0;
        for (const std::uint32_t end : before) {
            const std::string_view piece = text.substr(start, end - start);
            std::size_t at = 0;
            while (at < piece.size()) {
                const auto match = matcher.find(piece, at);
                if (!match) break;
                if (match->begin > at) add(start + match->begin);
                add(start + match->end);
                at = match->end;
            }
            if (at < piece.size()) add(end);
            start = end;
        }
    }

    void add(std::size_t end) { ends_.push_back(static_cast<std::uint32_t>(end)); }

    std::string_view repaired(std::string_view text) {
        copy_.clear();
        for (std::size_t at = 0; at < text.size();) {
            const Character character = decode_utf8(text, at);
            if (character.code == kReplacement && character.bytes == 1) {
                bad_bytes_.push_back(copy_.size());
                append_utf8(copy_, kReplacement);
            } else {
                copy_.append(text.substr(at, character.bytes));
            }
            at += character.bytes;
        }
        return copy_;
    }

    // Every repaired byte before an end has moved it by two.
    void map_back() {
        std::size_t bad = 0;
        for (std::uint32_t& end : ends_) {
            while (bad < bad_bytes_.size() && bad_bytes_[bad] < end) ++bad;
            end -= static_cast<std::uint32_t>(2 * bad);
        }
    }

    std::vector<Matcher> matchers_;
    std::vector<std::uint32_t> ends_;
    std::size_t given_ = 0;
    std::string copy_;
    std::vector<std::size_t> bad_bytes_;  // where in the copy
};

}  // namespace

SplitterFactory::SplitterFactory(const std::vector<std::string>& patterns)
    : regexes_(patterns.begin(), patterns.end()), scanner_(patterns.size() == 1 ? scanner_for(patterns[0]) : nullptr) {}

std::unique_ptr<Splitter> SplitterFactory::make() const { return scanner_ != nullptr ? scanner_() : make_generic(); }

std::unique_ptr<Splitter> SplitterFactory::make_generic() const { return std::make_unique<RegexSplitter>(regexes_); }

}  // namespace kiban::data
