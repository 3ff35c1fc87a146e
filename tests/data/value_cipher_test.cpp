// SPDX-License-Identifier: Apache-2.0
// Values that stand encrypted in a corpus: readable with the key, to nobody else.
#include "data/privacy/value_cipher.h"

#include <cstdlib>
#include <set>

#include "data/prepare.h"
#include "data/privacy/anonymiser.h"
#include "data/privacy/audit.h"
#include "data/privacy/audit_log.h"
#include "data/privacy/detect.h"
#include "monitoring/error.h"
#include "tests/data/files.h"

namespace kiban::data {
namespace {

const std::string kKey(32, 'k');

std::string letters_within(const std::string& encrypted) {
    const std::size_t equals = encrypted.find('=');
    return encrypted.substr(equals + 1, encrypted.size() - equals - 2);
}

TEST(ValueCipher, GivesItsKeysHolderWhatItEncrypted) {
    const ValueCipher cipher(kKey);
    for (const std::string& value : {std::string("bob@example.org"), std::string("090-1234-5678"), std::string("山田"),
                                     std::string(70'000, 'x'), std::string("a\0b", 3)}) {
        const std::string encrypted = cipher.encrypt(Kind::email, value);
        EXPECT_TRUE(encrypted.starts_with("<EMAIL="));
        EXPECT_EQ(encrypted.size(), std::string("<EMAIL=>").size() + 2 * (12 + value.size() + 16));
        EXPECT_EQ(cipher.decrypt(Kind::email, letters_within(encrypted)), value);
        EXPECT_EQ(encrypted, ValueCipher(kKey).encrypt(Kind::email, value)) << "a corpus is the same bytes every time";
    }
}

// The definition, by another program: openssl has no GCM on its command line, but GCM's key stream is counter mode from
// nonce | 2 (NIST SP 800-38D, section 7.1), and both keys and the nonce are HMAC-SHA-256.
TEST(ValueCipher, IsAes256GcmWithKeysAndNonceByHmac) {
    const TempDirectory directory;
    const std::string command = fmt::format(
        "cd '{}' && mac() {{ openssl dgst -sha256 -mac HMAC -macopt hexkey:$1 | sed 's/.*= //'; }} && "
        "key=$(printf %s {} | od -v -An -tx1 | tr -d ' \\n') && "
        "e=$(printf 'kiban value 1 encryption' | mac $key) && n=$(printf 'kiban value 1 nonce' | mac $key) && "
        "nonce=$(printf 'kiban value 1\\nemail\\nbob@example.org' | mac $n | cut -c1-24) && "
        "printf bob@example.org | openssl enc -aes-256-ctr -K $e -iv ${{nonce}}00000002 | od -v -An -tx1 | tr -d ' "
        "\\n' > "
        "c "
        "&& printf %s%s $nonce $(cat c) | tr 0-9a-f a-p > expected",
        directory.path().string(), kKey);
    ASSERT_EQ(std::system(command.c_str()), 0);
    const std::string letters = letters_within(ValueCipher(kKey).encrypt(Kind::email, "bob@example.org"));
    EXPECT_EQ(letters.substr(0, letters.size() - 32), read_file(directory / "expected"));
}

TEST(ValueCipher, RefusesWhatItsKeyDidNotMake) {
    const ValueCipher cipher(kKey);
    const std::string letters = letters_within(cipher.encrypt(Kind::email, "bob@example.org"));
    EXPECT_FALSE(ValueCipher(std::string(32, 'o')).decrypt(Kind::email, letters));
    EXPECT_FALSE(cipher.decrypt(Kind::phone, letters)) << "the kind is authenticated";
    EXPECT_FALSE(cipher.decrypt(Kind::email, letters.substr(2)));
    EXPECT_FALSE(cipher.decrypt(Kind::email, "abc"));
    EXPECT_FALSE(cipher.decrypt(Kind::email, "zz" + letters.substr(2)));
    EXPECT_FALSE(cipher.decrypt(Kind::email, ""));
    for (std::size_t at = 0; at < letters.size(); ++at) {
        std::string changed = letters;
        changed[at] = changed[at] == 'a' ? 'b' : 'a';
        EXPECT_FALSE(cipher.decrypt(Kind::email, changed)) << at;
    }
}

TEST(ValueCipher, UsesNoNonceForTwoValues) {
    const ValueCipher cipher(kKey);
    std::set<std::string> nonces;
    for (int i = 0; i < 2'000; ++i) {
        for (const Kind kind : {Kind::email, Kind::phone})
            nonces.insert(letters_within(cipher.encrypt(kind, std::to_string(i))).substr(0, 24));
    }
    EXPECT_EQ(nonces.size(), 4'000u);
}

TEST(Reveal, MakesATextReadableAndLeavesWhatIsForeign) {
    const ValueCipher cipher(kKey);
    const std::string foreign = ValueCipher(std::string(32, 'o')).encrypt(Kind::email, "eve@example.org");
    const std::string within = cipher.encrypt(Kind::name, "see " + cipher.encrypt(Kind::phone, "090-1234-5678"));
    const Revealed revealed = reveal(cipher, "Mail " + cipher.encrypt(Kind::email, "bob@example.org") + ", <EMAIL>, " +
                                                 foreign + " <EMAIL=> <EMAIL=ab <x " + within);
    EXPECT_EQ(revealed.text, "Mail bob@example.org, <EMAIL>, " + foreign + " <EMAIL=> <EMAIL=ab <x see 090-1234-5678");
    EXPECT_EQ(revealed.values, 3u);
    EXPECT_EQ(revealed.foreign, 1u);
}

TEST(Encrypted, CorporaGoBackToTheirTextWithTheKeyAlone) {
    const TempDirectory directory;
    directory.write("key", kKey);
    const std::string text = "Mail bob@example.org or call 090-1234-5678, card 4111 1111 1111 1111; bob@example.org.";
    directory.write("a.jsonl", nlohmann::json{{"text", text}}.dump() + "\n");
    DataConfig config = config_of("a.jsonl");
    config.clean.anonymise.all = "encrypt";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("key_file is empty"), std::string::npos);
    config.clean.anonymise.key_file = "key";
    EXPECT_NE(message_of<ConfigError>([&] { validate(config); }).find("approved_by is empty"), std::string::npos);
    config.clean.anonymise.approved_by = "D. P. Officer, 2026-03-01";
    const auto prepare = [&] { return prepare_here(config, directory.path(), directory / "corpora"); };
    std::filesystem::permissions(directory / "key", std::filesystem::perms(0640));
    EXPECT_NE(message_of<ConfigError>(prepare).find("chmod 600"), std::string::npos);
    std::filesystem::permissions(directory / "key", std::filesystem::perms(0600));
    const Manifest manifest = prepare();
    std::string left;
    for (const std::int64_t id : tokens_of(manifest, manifest.sources[0].train))
        if (id < 256) left.push_back(static_cast<char>(id));
    EXPECT_EQ(find_personal(left).size(), 0u);
    EXPECT_TRUE(audit_corpus(manifest).residuals.empty());
    const Revealed revealed = reveal(ValueCipher(kKey), left);
    EXPECT_EQ(revealed.text, text);
    EXPECT_EQ(revealed.values, 4u);
    EXPECT_EQ(Manifest::load(manifest.directory / "manifest.json").approved_by, "D. P. Officer, 2026-03-01");
    EXPECT_NE(read_file(manifest.directory / "card.md").find("was allowed by D. P. Officer"), std::string::npos);
    const auto lines = verified_audit_log(read_file(manifest.directory / "audit.jsonl"), manifest.audit, "log");
    ASSERT_EQ(lines.size(), 3u);
    EXPECT_EQ(lines[0].at("operator"), "encrypt");
    EXPECT_EQ(lines[0].at("key_id"), key_id(kKey));
}

}  // namespace
}  // namespace kiban::data
