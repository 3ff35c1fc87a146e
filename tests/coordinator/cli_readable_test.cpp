// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include "coordinator/cli/readable.h"
#include "coordinator/job/machine.h"
#include "coordinator/launch/program.h"

namespace kiban::coordinator {
namespace {

TEST(Readable, BytesChangeUnitBeforeFourDigits) {
    EXPECT_EQ(bytes_text(0), "0 B");
    EXPECT_EQ(bytes_text(1023), "1023 B");
    EXPECT_EQ(bytes_text(1024), "1.0 KiB");
    EXPECT_EQ(bytes_text(1536), "1.5 KiB");
    EXPECT_EQ(bytes_text((1u << 20) - 1), "1.0 MiB");
    EXPECT_EQ(bytes_text(std::uint64_t{30} << 30), "30.0 GiB");
    EXPECT_EQ(bytes_text(~std::uint64_t{0}), "16.0 EiB");
}

TEST(Readable, DurationsShowTwoUnits) {
    EXPECT_EQ(duration_text(-1), "0.0 s");
    EXPECT_EQ(duration_text(12.34), "12.3 s");
    EXPECT_EQ(duration_text(59.96), "1 min 00 s");
    EXPECT_EQ(duration_text(3599.4), "59 min 59 s");
    EXPECT_EQ(duration_text(7380), "2 h 03 min");
    EXPECT_EQ(duration_text(90000), "1 d 01 h");
}

TEST(Readable, CountsAreGroupedByThousands) {
    EXPECT_EQ(count_text(0), "0");
    EXPECT_EQ(count_text(999), "999");
    EXPECT_EQ(count_text(1000), "1 000");
    EXPECT_EQ(count_text(1234567), "1 234 567");
    EXPECT_EQ(shape_text({257, 128}), "[257, 128]");
    EXPECT_EQ(shape_text({}), "[]");
}

TEST(Machine, AProgramsOutputAndExitCodeComeBack) {
    const ProgramOutput echo = run_program({"sh", "-c", "echo out; echo err >&2; echo $WORD; exit 3"}, {"WORD=set"});
    EXPECT_EQ(echo.exit_code, 3);
    EXPECT_EQ(echo.text, "out\nerr\nset\n");
    EXPECT_EQ(run_program({"/nowhere/program"}).exit_code, 127);
    EXPECT_EQ(run_program({"sh", "-c", "kill -9 $$"}).exit_code, 137);
}

TEST(Machine, MemoryAndCpusArePlausible) {
    const Memory memory = memory_of_machine();
    EXPECT_GT(memory.total_bytes, std::uint64_t{1} << 28);
    EXPECT_GT(memory.available_bytes, 0U);
    EXPECT_LT(memory.available_bytes, memory.total_bytes);
}

}  // namespace
}  // namespace kiban::coordinator
