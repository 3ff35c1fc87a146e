// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/good_checkpoint.h"

#include "monitoring/error.h"

namespace kiban::coordinator {

std::vector<checkpoint::CheckpointInfo> good_checkpoints(const std::filesystem::path& run_dir) {
    auto candidates = checkpoint::list_checkpoints(run_dir);
    std::erase_if(candidates,
                  [](const auto& candidate) { return checkpoint::quick_fault(candidate.directory).has_value(); });
    return candidates;
}

std::filesystem::path good_checkpoint(const std::filesystem::path& run_dir, std::string_view purpose) {
    for (const auto& candidate : checkpoint::list_checkpoints(run_dir)) {
        if (!checkpoint::quick_fault(candidate.directory)) return candidate.directory;
    }
    throw CheckpointError("'{}' has no good checkpoint to {}; 'kiban verify' lists what is there", run_dir.string(),
                          purpose);
}

}  // namespace kiban::coordinator
