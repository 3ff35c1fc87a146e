// SPDX-License-Identifier: Apache-2.0
#include "monitoring/tensorboard.h"

#include <gtest/gtest.h>

#include "monitoring/error.h"
#include "tests/monitoring/process.h"
#include "tests/monitoring/simulated_run.h"
#include "tests/monitoring/temp_directory.h"

namespace kiban::monitoring {
namespace {

// Read by a program that shares no line with the writer.
std::string read_back(const std::filesystem::path& file) {
    const Finished referee =
        run_process({"/usr/bin/python3", "-B", KIBAN_SOURCE_DIR "/tests/monitoring/read_tfevents.py", file});
    EXPECT_EQ(referee.exit_code, 0) << referee.output;
    return referee.output;
}

TEST(TensorBoard, HoldsEveryStepWithItsScalars) {
    const TempDirectory directory;
    CurveRow evaluated = row_of(200, 2.5);  // a step of two bytes
    evaluated.eval_loss = 2.75;
    const auto file = write_tensorboard(directory / "board", {row_of(1, 3.25), evaluated});
    EXPECT_EQ(read_back(file),
              "0 1700000000.0 brain.Event:2\n"
              "1 1700000000.0 loss/train=3.25 optimizer/learning_rate=0.001 optimizer/grad_norm=0.5 "
              "progress/tokens=100 speed/step_seconds=0.03\n"
              "200 1700000000.0 loss/train=2.5 loss/holdout=2.75 optimizer/learning_rate=0.001 optimizer/grad_norm=0.5 "
              "progress/tokens=20000 speed/step_seconds=0.03\n");
    EXPECT_EQ(directory.entries(), std::vector<std::string>{"board"});
}

TEST(TensorBoard, ReplacesWhatIsThereAndNamesWhatCannotBeWritten) {
    const TempDirectory directory;
    write_tensorboard(directory / "board", {row_of(1, 3)});
    const auto file = write_tensorboard(directory / "board", {});
    EXPECT_EQ(read_back(file), "0 0.0 brain.Event:2\n");
    spill(directory / "file", "");
    EXPECT_TRUE(contains(message_of<IoError>([&] { write_tensorboard(directory / "file", {}); }),
                         (directory / "file").string()));
}

}  // namespace
}  // namespace kiban::monitoring
