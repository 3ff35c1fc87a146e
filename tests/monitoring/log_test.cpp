// SPDX-License-Identifier: Apache-2.0
#include "monitoring/log.h"

#include <gtest/gtest.h>

#include <regex>
#include <sstream>

#include "monitoring/error.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

TEST(Log, ALineHoldsTimeLevelWhoAndMessage) {
    const TempDirectory directory;
    start_log({.who = "worker 3", .file = directory / "log", .to_stderr = false});
    log_info("step {} took {} s", 12, 0.5);
    log_warning("slow");
    log_error("lost");
    std::istringstream lines(slurp(directory / "log"));
    const std::string time = R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z )";
    for (const char* rest :
         {"info \\[worker 3\\] step 12 took 0\\.5 s", "warning \\[worker 3\\] slow", "error \\[worker 3\\] lost"}) {
        std::string line;
        std::getline(lines, line);
        EXPECT_TRUE(std::regex_match(line, std::regex(time + rest))) << line;
    }
}

TEST(Log, AppendsToTheFileOfAnEarlierProcess) {
    const TempDirectory directory;
    for (const char* text : {"first", "second"}) {
        start_log({.who = "coordinator", .file = directory / "log", .to_stderr = false});
        log_info("{}", text);
    }
    const std::string content = slurp(directory / "log");
    EXPECT_TRUE(contains(content, "first\n")) << content;
    EXPECT_TRUE(contains(content, "second\n")) << content;
}

TEST(Log, AFileThatCannotBeOpenedIsNamed) {
    const TempDirectory directory;
    spill(directory / "file", "");
    const auto name = directory / "file/log";
    const std::string message = message_of<IoError>([&] { start_log({.who = "x", .file = name, .to_stderr = false}); });
    EXPECT_TRUE(contains(message, "cannot open the log '" + name.string() + "'")) << message;
}

}  // namespace
}  // namespace kiban::monitoring
