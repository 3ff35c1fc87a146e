// SPDX-License-Identifier: Apache-2.0
// What a call that must fail says.
#pragma once

#include <gtest/gtest.h>

#include <string>

namespace kiban {

/// The message of the Expected that `action` throws; a failed test and "" when it throws nothing.
template <typename Expected, typename Action>
std::string message_of(const Action& action) {
    try {
        action();
    } catch (const Expected& error) {
        return error.what();
    }
    ADD_FAILURE() << "nothing was thrown";
    return "";
}

}  // namespace kiban
