// SPDX-License-Identifier: Apache-2.0
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

#include "coordinator/cli/run_file_options.h"
#include "monitoring/error.h"

namespace kiban::coordinator {
namespace {

class CommandLineOptions : public ::testing::Test {
  protected:
    CommandLineOptions()
        : directory_(std::filesystem::temp_directory_path() / fmt::format("kiban-options-{}", ::getpid())) {
        std::filesystem::create_directories(directory_);
        std::ofstream(directory_ / "run.toml") << "[[data.sources]]\npath = 'a'\n";
    }
    ~CommandLineOptions() override { std::filesystem::remove_all(directory_); }

    RunFile read(const std::vector<std::string>& options) const {
        std::vector<std::string> from_behind(options.rbegin(), options.rend());
        from_behind.push_back((directory_ / "run.toml").string());
        CLI::App app;
        RunFileOptions parsed(app);
        app.parse(from_behind);
        return parsed.read();
    }

    std::filesystem::path directory_;
};

TEST_F(CommandLineOptions, TheRunDirectoryIsTakenAsItStands) {
    for (const char* name : {"plain", R"(a"b\c)", R"("quoted")", R"(\n)", "'", "#no comment", "two\nlines"}) {
        EXPECT_EQ(read({"--run-dir", (directory_ / name).string()}).run_dir(), directory_ / name);
    }
}

TEST_F(CommandLineOptions, AnOptionAndASettingOfTheSameKeyAreAUsageError) {
    EXPECT_EQ(read({"--workers", "2", "--set", "train.steps=200"}).launch.workers, 2);
    try {
        read({"--workers", "2", "--set", "launch.workers=4"});
        FAIL() << "one of them was taken";
    } catch (const UsageError& error) {
        EXPECT_STREQ(error.what(),
                     "the command line sets launch.workers twice: to '4' and to '2'; leave one of them out");
    }
}

}  // namespace
}  // namespace kiban::coordinator
