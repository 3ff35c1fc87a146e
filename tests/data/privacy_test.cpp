// SPDX-License-Identifier: Apache-2.0
// What counts as personal data: numbers that their makers publish as examples, and what only looks like them.
#include <cstdlib>

#include "data/clean/cleaner.h"
#include "data/privacy/anonymiser.h"
#include "data/privacy/check_digits.h"
#include "data/privacy/detect.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

// "kind:value" of each finding.
std::vector<std::string> found(const std::string& text, const KindSet& wanted = all_kinds()) {
    std::vector<std::string> all;
    for (const Finding& finding : find_personal(text, wanted))
        all.push_back(
            fmt::format("{}:{}", name_of(finding.kind), text.substr(finding.begin, finding.end - finding.begin)));
    return all;
}

using Values = std::vector<std::string>;

TEST(CheckDigits, AreThoseOfThePublishedExamples) {
    for (const char* card : {"4111111111111111", "5555555555554444", "2223003122003222", "378282246310005",
                             "6011111111111117", "3530111333300000", "30569309025904", "6200000000000005"})
        EXPECT_TRUE(is_card_number(card)) << card;
    for (const char* iban : {"GB29NWBK60161331926819", "DE89370400440532013000", "FR1420041010050500013M02606",
                             "NO9386011117947", "MT84MALT011000012345MTLCAST001S"})
        EXPECT_TRUE(is_iban(iban)) << iban;
    EXPECT_TRUE(is_my_number("123456789018"));
    EXPECT_TRUE(is_corporate_number("7000012050002")) << "the National Tax Agency's own";
}

// Every other last (or first) digit makes another number.
TEST(CheckDigits, FindEveryChangeOfOneDigit) {
    const auto changed = [](std::string digits, const auto& test) {
        int passed = 0;
        for (char& digit : digits) {
            const char before = digit;
            for (digit = '0'; digit <= '9'; ++digit) passed += digit != before && test(digits) ? 1 : 0;
            digit = before;
        }
        return passed;
    };
    EXPECT_EQ(changed("5555555555554444", is_card_number), 0);
    // Modulo 9, 0 and 9 weigh the same: of its nine 0s behind the check digit no change to 9 is found.
    EXPECT_EQ(changed("7000012050002", is_corporate_number), 8);
    std::string iban = "DE89370400440532013000";
    for (std::size_t i = 4; i < iban.size(); ++i) {
        for (char digit = '0'; digit <= '9'; ++digit) {
            std::string other = iban;
            other[i] = digit;
            EXPECT_EQ(is_iban(other), other == iban);
        }
    }
}

TEST(FindPersonal, AddressesOfPersons) {
    EXPECT_EQ(found("Write to <Jane.O'Hara+x@mail.example.co.uk>, or to bob@example.org."),
              (Values{"email:Jane.O'Hara+x@mail.example.co.uk", "email:bob@example.org"}));
    EXPECT_EQ(found("連絡先はtaro_y@example.jpです。hanako＠example.co.jpも"),
              (Values{"email:taro_y@example.jp", "email:hanako＠example.co.jp"}));
    EXPECT_EQ(found("a@b @c.de x@localhost 3@4.5 user@ example.com @ e.g. a@-b.de"), Values{});
    EXPECT_EQ(found("mailto:a-b@c-d.xn--p1ai?subject=x"), Values{"email:a-b@c-d.xn--p1ai"});
}

TEST(FindPersonal, AddressesInFullWidthSignsAndInOtherAlphabets) {
    EXPECT_EQ(found("宛先：ｂｏｂ．ｓ＠ｅｘａｍｐｌｅ．ｃｏ．ｊｐまで"),
              Values{"email:ｂｏｂ．ｓ＠ｅｘａｍｐｌｅ．ｃｏ．ｊｐ"});
    EXPECT_EQ(found("to bob@münchen.de, jürgen@example.org and иван@почта.рф."),
              (Values{"email:bob@münchen.de", "email:jürgen@example.org", "email:иван@почта.рф"}));
    EXPECT_EQ(found("taro@日本語.jpです。連絡先はtaro_y@example.jpです.次の行"),
              (Values{"email:taro@日本語.jp", "email:taro_y@example.jp"}));
    EXPECT_EQ(found("x@é ü@b @münchen.de a@b.ü bob@münchen 単価＠１２．５０"), Values{});
}

TEST(FindPersonal, AddressesOfMachinesBehindTheirName) {
    EXPECT_EQ(found("MAC:00:1A:2b:3c:4D:5e ip:2001:db8::1, inet6:fe80::1 \"mac\":00:1A:2b:3c:4D:5f"),
              (Values{"mac:00:1A:2b:3c:4D:5e", "ip:2001:db8::1", "ip:fe80::1", "mac:00:1A:2b:3c:4D:5f"}));
    EXPECT_EQ(found("time:12:30:45 x::b:c:1 std::a1::b:c:d 1:2:3:4:5:6:7:8:9 arr[i:1::2]"), Values{});
}

// A kind that is kept must not hide one that has to go.
TEST(FindPersonal, OfKindsThatAreNotWantedIsAsIfItWereNotThere) {
    KindSet wanted = all_kinds();
    wanted.reset(static_cast<std::size_t>(Kind::secret));
    const std::string cut_off = "-----BEGIN PRIVATE KEY-----\nMIIE\nbob@example.org, 4111111111111111";
    EXPECT_EQ(found(cut_off).size(), 1u);
    EXPECT_EQ(found(cut_off, wanted), (Values{"email:bob@example.org", "card:4111111111111111"}));
    EXPECT_EQ(found("https://bob:pw1@example.org/", wanted), Values{"email:pw1@example.org"});
    wanted.reset(static_cast<std::size_t>(Kind::iban));
    wanted.reset(static_cast<std::size_t>(Kind::card));
    EXPECT_EQ(found("DE89370400440532013000 4111-1111-1111-1111", wanted), Values{});
    EXPECT_EQ(found("法人番号 4111111111111111 02: 1.2.3.4", KindSet()), Values{});
}

// A text that begins one at every fourth byte would else be read to its end each time.
TEST(FindPersonal, WebTokensHaveABoundedLength) {
    std::string text;
    while (text.size() < (1u << 17)) text += "-eyJ";
    EXPECT_EQ(found(text), Values{});
    const auto token = [](std::size_t bytes) {
        return "eyJ" + std::string(bytes, 'a') + ".eyJ" + "b1." + std::string(20, 'c');
    };
    EXPECT_EQ(found(token(8000)), Values{"secret:" + token(8000)});
    EXPECT_EQ(found(token(9000)), Values{});
}

TEST(FindPersonal, AddressesOfMachines) {
    EXPECT_EQ(found("from 192.0.2.17, [2001:db8::8a2e:370:7334]:80 and 10.1.2.3:8080."),
              (Values{"ip:192.0.2.17", "ip:2001:db8::8a2e:370:7334", "ip:10.1.2.3"}));
    EXPECT_EQ(found("eth0 00:1A:2b:3c:4D:5e up"), Values{"mac:00:1A:2b:3c:4D:5e"});
    EXPECT_EQ(
        found("127.0.0.1 0.0.0.0 255.255.255.255 ::1 1.2.3 1.2.3.4.5 300.1.1.1 01.02.03.04 v1.2.3.4 version 1.2.3.4"),
        Values{});
    EXPECT_EQ(found("std::vector dead::beef 12:30:45 a::b 10:20 key: value fe::c"), Values{});
}

TEST(FindPersonal, NumbersWithACheckDigitAndNotTheirNeighbours) {
    EXPECT_EQ(found("card 4111 1111 1111 1111 or 4111-1111-1111-1111 or 378282246310005, 3782-822463-10005"),
              (Values{"card:4111 1111 1111 1111", "card:4111-1111-1111-1111", "card:378282246310005",
                      "card:3782-822463-10005"}));
    EXPECT_EQ(found("4111 1111 1111 1112 41111111111111111 4111-1111 1111-1111 9784111111111111"), Values{});
    EXPECT_EQ(found("IBAN DE89 3704 0044 0532 0130 00, GB29NWBK60161331926819; DE88370400440532013000"),
              (Values{"iban:DE89 3704 0044 0532 0130 00", "iban:GB29NWBK60161331926819"}));
    EXPECT_EQ(found("マイナンバー：123456789018 個人番号は 1234-5678-9018 です"),
              (Values{"my_number:123456789018", "my_number:1234-5678-9018"}));
    EXPECT_EQ(found("at 123456789018 ms; 1234-5678-9019; １２３４５６７８９０１８"), Values{});
    EXPECT_EQ(
        found("法人番号 7000012050002, 登録番号T7000012050002; 7000012050002"),
        (Values{"corporate_number:7000012050002", "corporate_number:7000012050002", "corporate_number:7000012050002"}))
        << "the third one stands near the words as well";
    EXPECT_EQ(found(std::string(60, '.') + "7000012050002"), Values{});
}

TEST(FindPersonal, PhonesAndPostalCodes) {
    EXPECT_EQ(found("電話 03-1234-5678、090-1234-5678、０９０ー１２３４ー５６７８、(0467) 12-3456、0120-123-456"),
              (Values{"phone:03-1234-5678", "phone:090-1234-5678", "phone:０９０ー１２３４ー５６７８",
                      "phone:(0467) 12-3456", "phone:0120-123-456"}));
    EXPECT_EQ(found("+81 3 1234 5678, +44 20 7946 0958; +14155550123 or (415) 555-0123 or 415-555-0123"),
              (Values{"phone:+81 3 1234 5678", "phone:+44 20 7946 0958", "phone:+14155550123", "phone:(415) 555-0123",
                      "phone:415-555-0123"}));
    EXPECT_EQ(found("09012345678 tel: 0312345678"), (Values{"phone:09012345678", "phone:0312345678"}));
    EXPECT_EQ(found("2024-01-02 2024-01-02-0304 ISBN 978-4-00-310101-8 0312345678x 0-306-40615-2 123-456-7890 1-2-3"),
              Values{});
    EXPECT_EQ(found("〒100-0001 東京都千代田区; 〒 1000001; 郵便番号 530-0001; 604-8006 京都府"),
              (Values{"postal_code:100-0001", "postal_code:1000001", "postal_code:530-0001", "postal_code:604-8006"}));
    EXPECT_EQ(found("lines 100-0001 of it"), Values{});
}

TEST(FindPersonal, Secrets) {
    const std::string letters = "a1B2c3D4e5F6g7H8i9J0k1L2m3N4o5P6q7R8s9T0";
    EXPECT_EQ(found("key AKIAIOSFODNN7EXAMPLE end"), Values{"secret:AKIAIOSFODNN7EXAMPLE"});
    EXPECT_EQ(found("token=ghp_" + letters.substr(0, 36) + "\n"), Values{"secret:ghp_" + letters.substr(0, 36)});
    EXPECT_EQ(found("hf_" + letters.substr(0, 34)), Values{"secret:hf_" + letters.substr(0, 34)});
    EXPECT_EQ(found("sk-" + letters + "."), Values{"secret:sk-" + letters});
    EXPECT_EQ(found("https://bob:hunter2@example.org/x"), Values{"secret:bob:hunter2"});
    EXPECT_EQ(found("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w"),
              Values{"secret:eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.dozjgNryP4J3jVmNHl0w"});
    const std::string key = "-----BEGIN RSA PRIVATE KEY-----\nMIIE\n-----END RSA PRIVATE KEY-----";
    EXPECT_EQ(found("x\n" + key + "\ny"), Values{"secret:" + key});
    EXPECT_EQ(found("-----BEGIN PRIVATE KEY-----\nMIIE cut off"),
              Values{"secret:-----BEGIN PRIVATE KEY-----\nMIIE cut off"});
    EXPECT_EQ(found("-----BEGIN PUBLIC KEY----- task-force sk-learn hf_hub ghp_short https://example.org:80/a@b AKIA"),
              Values{});
}

std::string key_id_of(const std::string& file) { return key_id(read_key(file, /*tight=*/false)); }

AnonymiseConfig all_of(const std::string& op) {
    AnonymiseConfig config;
    config.all = op;
    return config;
}

std::string anonymised(const AnonymiseConfig& config, std::string text) {
    std::map<std::string, Redaction> redacted;
    EXPECT_FALSE(Anonymiser(config).apply(text, redacted));
    return text;
}

const std::string kLetter = "Mail bob@example.org or call 090-1234-5678, card 4111 1111 1111 1111.";

TEST(Anonymiser, TakesValuesOutAsItIsTold) {
    EXPECT_EQ(anonymised(all_of("redact"), kLetter), "Mail <EMAIL> or call <PHONE>, card <CARD>.");
    EXPECT_EQ(anonymised(all_of("mask"), kLetter),
              "Mail ***@*******.*** or call ***-****-****, card **** **** **** ****.");
    AnonymiseConfig mixed = all_of("keep");
    mixed.phone = "redact";
    EXPECT_EQ(anonymised(mixed, kLetter), "Mail bob@example.org or call <PHONE>, card 4111 1111 1111 1111.");
    mixed.card = "drop";
    std::string text = kLetter;
    std::map<std::string, Redaction> redacted;
    EXPECT_EQ(Anonymiser(mixed).apply(text, redacted), Kind::card);
    EXPECT_TRUE(redacted.empty());
    std::string counted = kLetter + " bob@example.org";
    Anonymiser(all_of("redact")).apply(counted, redacted);
    EXPECT_EQ(redacted.at("email"), (Redaction{2, 1, 30, 14}));
    EXPECT_THROW(operators_of(all_of("erase")), ConfigError);
}

TEST(Anonymiser, GivesEqualValuesOfACorpusEqualPseudonyms) {
    const TempDirectory directory;
    directory.write("key", std::string(32, 'k'));
    directory.write("other", std::string(32, 'o'));
    directory.write("short", "k");
    AnonymiseConfig config = all_of("pseudonym");
    config.key_file = (directory / "key").string();
    config.key_id = key_id_of(config.key_file);
    config.salt = "corpus one";
    const std::string made = anonymised(config, "bob@example.org");
    EXPECT_EQ(made.size(), std::string("<EMAIL:>").size() + 16);
    EXPECT_EQ(anonymised(config, "Bob@Example.ORG"), made);
    EXPECT_EQ(anonymised(config, "090-1234-5678"), anonymised(config, "０９０ー１２３４ー５６７８"));
    EXPECT_NE(anonymised(config, "rob@example.org"), made);
    AnonymiseConfig other = config;
    other.salt = "corpus two";
    EXPECT_NE(anonymised(other, "bob@example.org"), made);
    other.key_file = (directory / "other").string();
    EXPECT_NE(message_of<DataError>([&] { Anonymiser keyed(other); }).find("expected the key '" + config.key_id),
              std::string::npos);
    other.key_id = key_id_of(other.key_file);
    other.salt = config.salt;
    EXPECT_NE(anonymised(other, "bob@example.org"), made);
    EXPECT_NE(message_of<ConfigError>([&] { key_id_of((directory / "short").string()); }).find("at least 32"),
              std::string::npos);
}

TEST(Anonymiser, TakesOutWhatStandsWithinAKindThatIsKept) {
    AnonymiseConfig config = all_of("redact");
    config.secret = "keep";
    EXPECT_EQ(anonymised(config, "-----BEGIN PRIVATE KEY-----\nMIIE\n" + kLetter),
              "-----BEGIN PRIVATE KEY-----\nMIIE\nMail <EMAIL> or call <PHONE>, card <CARD>.");
}

// In UTF-16 no value would be found.
TEST(Anonymiser, RefusesWhatIsNoText) {
    std::map<std::string, Redaction> redacted;
    std::string wide;
    for (const char letter : kLetter) wide += {letter, '\0'};
    for (const std::string& text : {wide, std::string("caf\xE9 bob@example.org")}) {
        std::string left = text;
        EXPECT_NE(message_of<DataError>([&] { Anonymiser(all_of("redact")).apply(left, redacted); }).find("UTF-8"),
                  std::string::npos);
        EXPECT_FALSE(Anonymiser(all_of("keep")).apply(left, redacted));
        EXPECT_EQ(left, text);
    }
}

// RFC 4231 gives HMAC-SHA-256 its test vectors; this is the definition, by another program.
TEST(Anonymiser, ItsPseudonymsAreHmacSha256) {
    const TempDirectory directory;
    directory.write("key", std::string(32, 'k'));
    AnonymiseConfig config = all_of("pseudonym");
    config.key_file = (directory / "key").string();
    config.key_id = key_id_of(config.key_file);
    config.salt = "s";
    const std::string command = fmt::format(
        "printf 'kiban pseudonym 1\\ns\\nemail\\nbob@example.org' | openssl dgst -sha256 -hmac {} | sed 's/.*= //' | "
        "cut -c1-16 | tr 0-9a-f a-p >'{}'",
        std::string(32, 'k'), (directory / "expected").string());
    ASSERT_EQ(std::system(command.c_str()), 0);
    std::string expected = read_file(directory / "expected");
    expected.pop_back();
    EXPECT_EQ(anonymised(config, "bob@example.org"), "<EMAIL:" + expected + ">");
}

TEST(Anonymiser, WhatItWritesIsNotFoundAgain) {
    const TempDirectory directory;
    directory.write("key", std::string(32, 'k'));
    std::filesystem::permissions(directory / "key", std::filesystem::perms::owner_read);
    const std::string text = kLetter +
                             " T7000012050002 〒100-0001 DE89370400440532013000 2001:db8::1 00:1A:2b:3c:4D:5e "
                             "https://bob:pw@example.org マイナンバー 123456789018 AKIAIOSFODNN7EXAMPLE";
    EXPECT_EQ(find_personal(text).size(), 11u);
    for (const char* op : {"redact", "mask", "pseudonym", "encrypt"}) {
        AnonymiseConfig config = all_of(op);
        config.key_file = (directory / "key").string();
        config.key_id = key_id_of(config.key_file);
        const std::string left = anonymised(config, text);
        EXPECT_EQ(found(left), Values{}) << op << ": " << left;
        EXPECT_EQ(anonymised(config, left), left) << op;
    }
}

}  // namespace
}  // namespace kiban::data
