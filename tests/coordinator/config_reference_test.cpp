// SPDX-License-Identifier: Apache-2.0
#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "coordinator/config/nearest.h"
#include "coordinator/config/reference.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

// Rows of the tables of RUN_FILE.md by section ("## [train]"), without the tables' heads.
std::vector<ReferenceSection> documented() {
    std::istringstream text(monitoring::read_text(KIBAN_SOURCE_DIR "/coordinator/RUN_FILE.md"));
    std::vector<ReferenceSection> sections;
    for (std::string line; std::getline(text, line);) {
        if (line.starts_with("## [")) {
            const std::size_t begin = line.find_last_of('[') + 1;
            sections.push_back({line.substr(begin, line.find(']') - begin), {}});
        }
        if (line.starts_with("| `") && !sections.empty()) sections.back().rows.push_back(line);
    }
    return sections;
}

TEST(RunFileReference, EveryKeyIsDocumentedAndEveryDocumentedKeyExists) {
    const auto expected = run_file_reference();
    const auto found = documented();
    ASSERT_EQ(found.size(), expected.size());
    for (std::size_t i = 0; i < expected.size(); ++i) {
        EXPECT_EQ(found[i].name, expected[i].name);
        EXPECT_EQ(found[i].rows, expected[i].rows) << expected[i].name;
    }
}

TEST(RunFileReference, HoldsTheKeysOfTheDesign) {
    std::size_t rows = 0;
    for (const auto& section : run_file_reference()) rows += section.rows.size();
    EXPECT_GE(rows, 55U);
    EXPECT_EQ(
        run_file_reference().front().rows.at(2).rfind("| `seed` | `1337` | an integer of at least 0 | fixed | ", 0), 0U)
        << run_file_reference().front().rows.at(2);
}

TEST(Nearest, OmittedCharactersCostLessThanWrongOnes) {
    EXPECT_EQ(typing_distance("", ""), 0U);
    EXPECT_EQ(typing_distance("step", "steps"), 1U);
    EXPECT_EQ(typing_distance("stepss", "steps"), 2U);
    EXPECT_EQ(typing_distance("stops", "steps"), 2U);
    EXPECT_EQ(typing_distance("abc", ""), 6U);
    EXPECT_EQ(typing_distance("", "abc"), 3U);
    EXPECT_EQ(nearest("seq_len", {"sources", "sequence_length"}), "sequence_length");
    EXPECT_EQ(nearest("x", {}), "");
}

TEST(Nearest, TheLastPartOfAKeyCountsMost) {
    EXPECT_EQ(nearest_key("train.seed", {"train.steps", "run.seed"}), "run.seed");
    EXPECT_EQ(nearest_key("interval_steps", {"train.eval_interval_steps", "checkpoint.interval_steps"}),
              "checkpoint.interval_steps");
}

}  // namespace
}  // namespace kiban::coordinator
