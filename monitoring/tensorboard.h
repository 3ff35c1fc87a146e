// SPDX-License-Identifier: Apache-2.0
// A curve record as an event file that TensorBoard opens: records framed with masked CRC-32C (tensorflow's
// lib/io/record_writer.h), each an Event (tensorflow's util/event.proto) with the scalars of one step.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "monitoring/curve.h"

namespace kiban::monitoring {

/// Replaces `directory`/events.out.tfevents.0000000000.kiban, all or nothing; makes the directory. Scalars: loss/train,
/// loss/holdout (where evaluated), optimizer/learning_rate, optimizer/grad_norm, progress/tokens, speed/step_seconds,
/// as 32-bit floats, which is what the format has. Returns the file; IoError.
std::filesystem::path write_tensorboard(const std::filesystem::path& directory, const std::vector<CurveRow>& rows);

}  // namespace kiban::monitoring
