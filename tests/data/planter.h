// SPDX-License-Identifier: Apache-2.0
// Texts with personal data in known places.
#pragma once

#include <fmt/format.h>

#include <array>
#include <cstdint>
#include <random>
#include <string>
#include <string_view>

#include "data/privacy/check_digits.h"
#include "data/privacy/kind.h"

namespace kiban::data {

// Values of each kind as people write them, with check digits that are right, and look-alikes whose are not.
class Planter {
  public:
    explicit Planter(std::uint64_t seed) : random_(seed) {}

    std::uint64_t below(std::uint64_t n) { return random_() % n; }
    std::string digits(std::size_t count) {
        std::string text;
        for (std::size_t i = 0; i < count; ++i) text.push_back(static_cast<char>('0' + below(10)));
        return text;
    }
    std::string letters(std::size_t count, const char* from = "abcdefghijklmnopqrstuvwxyz") {
        std::string text;
        const std::size_t size = std::string_view(from).size();
        for (std::size_t i = 0; i < count; ++i) text.push_back(from[below(size)]);
        return text;
    }
    template <typename Test>
    std::string with_check(std::size_t count, const Test& test, const std::string& prefix = "") {
        for (;;) {
            std::string text = prefix + digits(count - prefix.size());
            if (test(text)) return text;
        }
    }
    static std::string grouped(const std::string& text, std::size_t each, const std::string& separator) {
        std::string out;
        for (std::size_t i = 0; i < text.size(); ++i) {
            if (i > 0 && i % each == 0) out += separator;
            out.push_back(text[i]);
        }
        return out;
    }
    std::string hex(std::size_t count) { return letters(count, "0123456789abcdef"); }

    /// A list as a user gives it.
    static std::string names() {
        return "Aoife Byrne\nBartholomew Quill\nZoë Ångström\n山田太郎\n佐藤花子\nProject Heron\nIgnatius\n"
               "Jean-Luc d'Aubigné\nКирилл Петров\n";
    }

    struct Value {
        std::string before;  // words that belong to it
        std::string text;
    };

    Value value(Kind kind) {
        const std::array<std::string, 3> gaps = {"", "-", " "};
        switch (kind) {
            case Kind::secret:
                if (below(2) == 0) return {"key ", "ghp_" + letters(35, "abcdEFGH0123456789") + "7"};
                return {"key ", "AKIA" + letters(15, "ABCDEFGH0123456789") + "7"};
            case Kind::email:
                return {"", letters(3) + "." + letters(5) + "@" + letters(6) + (below(2) == 0 ? ".co.jp" : ".org")};
            case Kind::iban: {
                const std::string body = digits(18);
                for (unsigned check = 2; check < 99; ++check) {
                    const std::string iban = fmt::format("DE{:02}{}", check, body);
                    if (is_iban(iban)) return {"", grouped(iban, 4, below(2) == 0 ? " " : "")};
                }
                return {};
            }
            case Kind::card:
                return {"", grouped(with_check(16, is_card_number, below(2) == 0 ? "4" : "52"), 4, gaps[below(3)])};
            case Kind::my_number: return {"個人番号 ", grouped(with_check(12, is_my_number), 4, gaps[below(3)])};
            case Kind::corporate_number: return {"法人番号：", with_check(13, is_corporate_number)};
            case Kind::phone: {
                const std::array<std::string, 4> forms = {
                    "090-" + digits(4) + "-" + digits(4), "03-" + digits(4) + "-" + digits(4),
                    "+81-90-" + digits(4) + "-" + digits(4),
                    "(" + std::to_string(2 + below(8)) + digits(2) + ") 5" + digits(2) + "-" + digits(4)};
                return {"", forms[below(4)]};
            }
            case Kind::postal_code: return {"〒", digits(3) + "-" + digits(4)};
            case Kind::ip:
                if (below(2) == 0)
                    return {"", fmt::format("{}.{}.{}.{}", 128 + below(100), below(256), below(256), 1 + below(254))};
                return {"", fmt::format("2001:db8:{:x}::{:x}", 1 + below(65535), 1 + below(65535))};
            case Kind::name: {
                const std::string list = names();
                const std::string_view rest =
                    std::string_view(list).substr(list.find('\n', below(list.size() - 1)) + 1);
                return {"", std::string(rest.empty() ? "Aoife Byrne" : rest.substr(0, rest.find('\n')))};
            }
            case Kind::mac:
                return {"", fmt::format("{}:{}:{}:{}:{}:{}", hex(2), hex(2), hex(2), hex(2), hex(2), hex(2))};
        }
        return {};
    }

    std::string decoy() {
        switch (below(8)) {
            case 0: return "version 2." + digits(1) + "." + digits(1) + "." + digits(1);
            case 1: return fmt::format("2024-{:02}-{:02}", 1 + below(12), 1 + below(28));
            case 2: return "ISBN 978-4-" + digits(2) + "-" + digits(6) + "-" + digits(1);
            case 3: return "commit " + hex(40);
            case 4: return "at " + digits(13) + " ms";
            case 5: return fmt::format("{:02}:{:02}:{:02}", below(24), below(60), below(60));
            case 6: return "@" + letters(6) + " std::" + letters(4);
            default: return digits(4) + " of " + digits(5);
        }
    }

    std::string sentence() {
        static const std::array<std::string, 5> kSentences = {"The letter came on Monday ", "これは本文です。 ",
                                                              "and nobody knew why; ", "see below ",
                                                              "基盤の説明は次のとおり "};
        return kSentences[below(kSentences.size())];
    }

  private:
    std::mt19937_64 random_;
};

}  // namespace kiban::data
