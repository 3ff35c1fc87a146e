// SPDX-License-Identifier: Apache-2.0
#include "monitoring/error.h"

#include <gtest/gtest.h>

#include "tests/monitoring/temp_directory.h"

namespace kiban {
namespace {

using monitoring::contains;

TEST(Error, EveryTypeHasTheExitCodeThatTheBatchScriptKnows) {
    EXPECT_EQ(exit_code_of(UsageError("x")), 64);
    EXPECT_EQ(exit_code_of(DataError("x")), 65);
    EXPECT_EQ(exit_code_of(InternalError("x")), 70);
    EXPECT_EQ(exit_code_of(NonFiniteError("x")), 70);
    EXPECT_EQ(exit_code_of(IoError("x")), 74);
    EXPECT_EQ(exit_code_of(CheckpointError("x")), 74);
    EXPECT_EQ(exit_code_of(CommError("x")), 75);
    EXPECT_EQ(exit_code_of(ConfigError("x")), 78);
    EXPECT_EQ(exit_code_of(std::runtime_error("x")), 70);
}

TEST(Error, NamesItsType) {
    EXPECT_STREQ(type_name_of(DataError("x")), "DataError");
    EXPECT_STREQ(type_name_of(std::runtime_error("x")), "exception");
}

TEST(Error, FormatsItsMessage) {
    EXPECT_STREQ(ConfigError("heads {} does not divide d_model {}", 3, 128).what(),
                 "heads 3 does not divide d_model 128");
}

TEST(Error, ACheckThatFailsSaysTheExpressionTheValuesAndThePlace) {
    const int ranks = 3;
    const std::string message = message_of<InternalError>([&] { KIBAN_CHECK(ranks % 2 == 0, "{} ranks", ranks); });
    EXPECT_TRUE(contains(message, "'ranks % 2 == 0'")) << message;
    EXPECT_TRUE(contains(message, "3 ranks")) << message;
    EXPECT_TRUE(contains(message, "error_test.cpp:")) << message;
}

TEST(Error, ACheckThatHoldsDoesNotEvaluateItsMessage) {
    int evaluated = 0;
    KIBAN_CHECK(evaluated == 0, "{}", ++evaluated);
    EXPECT_EQ(evaluated, 0);
}

}  // namespace
}  // namespace kiban
