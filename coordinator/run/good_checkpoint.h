// SPDX-License-Identifier: Apache-2.0
// Which checkpoint of a run a tool reads when none is named. Reads only: unlike a resume it rejects nothing.
#pragma once

#include <filesystem>
#include <string_view>

namespace kiban::coordinator {

/// The newest one without a quick fault. CheckpointError when there is none; `purpose` is for its message ("export").
std::filesystem::path good_checkpoint(const std::filesystem::path& run_dir, std::string_view purpose);

}  // namespace kiban::coordinator
