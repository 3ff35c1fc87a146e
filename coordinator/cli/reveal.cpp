// SPDX-License-Identifier: Apache-2.0
// kiban reveal --key FILE [TEXT]: a text with the values readable that `data.clean.anonymise` has encrypted in it.
#include <CLI/CLI.hpp>
#include <fmt/format.h>

#include <cstdio>
#include <iostream>
#include <iterator>
#include <memory>
#include <string>

#include "coordinator/cli/commands.h"
#include "data/privacy/value_cipher.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

std::string text_of(const std::string& file) {
    if (!file.empty()) return monitoring::read_text(file);
    return {std::istreambuf_iterator<char>(std::cin), std::istreambuf_iterator<char>()};
}

int reveal(const std::string& key_file, const std::string& file) {
    const std::string key = data::read_key(key_file, /*tight=*/true);
    const data::Revealed revealed = data::reveal(data::ValueCipher(key), text_of(file));
    if (revealed.values == 0 && revealed.foreign > 0) {
        throw DataError("cannot read any of {} encrypted values with the key '{}' ({}): the manifest names theirs",
                        revealed.foreign, key_file, data::key_id(key));
    }
    std::fwrite(revealed.text.data(), 1, revealed.text.size(), stdout);
    std::fflush(stdout);
    fmt::print(stderr, "{} values are readable, {} were not made with this key\n", revealed.values, revealed.foreign);
    return kExitDone;
}

}  // namespace

void add_reveal_command(CLI::App& app, int& exit_code) {
    CLI::App* command = app.add_subcommand("reveal", "makes encrypted values of a text readable to the key's holder");
    auto key = std::make_shared<std::string>();
    auto file = std::make_shared<std::string>();
    command->add_option("--key", *key, "the key that data.clean.anonymise.key_file named")->required();
    command->add_option("TEXT", *file, "file; otherwise standard input");
    command->callback([key, file, &exit_code] { exit_code = reveal(*key, *file); });
}

}  // namespace kiban::coordinator
