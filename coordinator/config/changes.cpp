// SPDX-License-Identifier: Apache-2.0
#include "coordinator/config/changes.h"

#include <algorithm>

namespace kiban::coordinator {

std::vector<std::string> changes_of_import(const RunFile& saved, const RunFile& now) {
    std::vector<std::string> changes = forbidden_changes(saved, now);
    std::erase_if(changes, [&](const std::string& change) {
        const bool of_weights =
            (change.starts_with("model.") && !change.starts_with("model.attention:")) ||  // an attention has no weights
            change.starts_with("data.tokenizer:") || change.starts_with("train.optimizer.name:") ||
            (saved.model.layout == ModelLayout::gpt2 && change.starts_with("data.sequence_length:"));
        return !of_weights;
    });
    return changes;
}

std::vector<std::string> changes_of_tensors(const RunFile& saved, const RunFile& now) {
    std::vector<std::string> changes = changes_of_import(saved, now);
    std::erase_if(changes, [](const std::string& change) { return change.starts_with("model.rope_theta:"); });
    return changes;
}

bool changes_rows(const RunFile& saved, const RunFile& now) {
    const auto changes = all_changes(saved, now);
    return std::ranges::any_of(changes, [](const std::string& change) {
        return change.starts_with("run.seed:") ||
               (change.starts_with("data.") && !change.starts_with("data.corpora_dir:") &&
                !change.starts_with("data.forget:") &&  // hides tokens, moves no row
                !change.starts_with("data.tokenizer:"));
    });
}

}  // namespace kiban::coordinator
