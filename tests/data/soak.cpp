// SPDX-License-Identifier: Apache-2.0
// The checks of bpe_checks.h in large: data_soak [TEXTS of each pattern] [DAMAGED FILES] [DIRECTORY...]
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>

#include "bpe_checks.h"

namespace kiban::data {
namespace {

std::vector<std::string> arguments;

std::size_t number(std::size_t index, std::size_t otherwise) {
    return arguments.size() > index ? std::strtoull(arguments[index].c_str(), nullptr, 10) : otherwise;
}

TEST(Soak, ScannersCutRandomTextAsTheRegularExpressionsDo) {
    for (const char* pattern : all_patterns()) compare_paths_on_random_text(pattern, number(0, 2'000'000), 2);
}

TEST(Soak, ScannersCutTheTextOfThisMachineAsTheRegularExpressionsDo) {
    std::vector<std::string> directories(arguments.begin() + std::min<std::ptrdiff_t>(2, std::ssize(arguments)),
                                         arguments.end());
    if (directories.empty()) directories = {"/usr/share/doc", "/usr/share/man"};
    for (const std::string& directory : directories) {
        for (const char* pattern : all_patterns()) {
            const std::uint64_t bytes = compare_paths_on_files(pattern, directory, 8u << 20);
            std::printf("%s: %.1f MB cut alike by %.40s...\n", directory.c_str(), static_cast<double>(bytes) / 1e6,
                        pattern);
            EXPECT_GT(bytes, 0u);
        }
    }
}

TEST(Soak, DamagedTokenizerFilesAreRefusedOrStillRight) { read_damaged_tokenizers(number(1, 1'000'000), 2); }

}  // namespace
}  // namespace kiban::data

int main(int argc, char** argv) {
    testing::InitGoogleTest(&argc, argv);
    kiban::data::arguments.assign(argv + 1, argv + argc);
    return RUN_ALL_TESTS();
}
