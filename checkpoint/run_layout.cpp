// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/run_layout.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <random>

#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::checkpoint {

namespace fs = std::filesystem;

fs::path checkpoints_of(const fs::path& run_dir) { return run_dir / "ckpt"; }
fs::path staging_of(const fs::path& run_dir) { return checkpoints_of(run_dir) / ".staging"; }
fs::path trash_of(const fs::path& checkpoints) { return checkpoints / ".trash"; }
fs::path rejected_file(const fs::path& run_dir) { return checkpoints_of(run_dir) / "rejected.jsonl"; }

std::string make_nonce() {
    std::random_device entropy;
    return fmt::format("{:08x}{:08x}", entropy(), entropy());
}

std::vector<std::string> directories_in(const fs::path& directory) {
    std::vector<std::string> names;
    std::error_code error;
    if (!fs::exists(directory, error) && !error) return names;
    for (fs::directory_iterator entry(directory, error), end; !error && entry != end; entry.increment(error)) {
        std::error_code gone;  // between listing and asking: not a directory any more
        if (entry->is_directory(gone)) names.push_back(entry->path().filename().string());
    }
    if (error) throw IoError("cannot list '{}': {}", directory.string(), error.message());
    return names;
}

void throw_away(const fs::path& checkpoints, const fs::path& directory) {
    const fs::path trash = trash_of(checkpoints);
    monitoring::make_directories(trash);
    const fs::path doomed = trash / fmt::format("{}.{}", last_name(directory), make_nonce());
    monitoring::rename_durably(directory, doomed, "ckpt.retention");
    std::error_code error;
    fs::remove_all(doomed, error);
    if (error)
        monitoring::log_warning("cannot delete '{}': {}; its space is not free yet", doomed.string(), error.message());
}

std::vector<std::string> rejected_names(const fs::path& run_dir) {
    std::vector<std::string> names;
    const auto text = monitoring::read_text_if_exists(rejected_file(run_dir));
    for (std::string_view rest = text ? std::string_view(*text) : ""; !rest.empty();) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        const nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (json.is_object() && json.contains("checkpoint") && json["checkpoint"].is_string())
            names.push_back(json["checkpoint"]);
    }
    return names;
}

}  // namespace kiban::checkpoint
