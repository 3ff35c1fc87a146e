// SPDX-License-Identifier: Apache-2.0
#include "checkpoint/run_layout.h"

#include <fmt/chrono.h>

#include <algorithm>
#include <ctime>
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
    if (!monitoring::anything_at(directory)) return names;
    for (const std::string& name : monitoring::names_in(directory)) {
        if (monitoring::directory_at(directory / name)) names.push_back(name);
    }
    return names;
}

void throw_away(const fs::path& checkpoints, const fs::path& directory) {
    throw_away_unless(checkpoints, directory, [] { return false; });
}

void throw_away_unless(const fs::path& checkpoints, const fs::path& directory, const std::function<bool()>& stays) {
    const fs::path trash = trash_of(checkpoints);
    monitoring::make_directories(trash);
    if (stays()) return;
    const fs::path doomed = trash / fmt::format("{}.{}", last_name(directory), make_nonce());
    monitoring::rename_durably(directory, doomed, "ckpt.retention");
    bool back = true;  // also where that cannot be known
    try {
        back = stays();
    } catch (const IoError& error) {
        monitoring::log_warning("'{}' is kept: {}", directory.string(), error.what());
    }
    if (back) {
        monitoring::rename_durably(doomed, directory, "ckpt.retention");
        return;
    }
    try {
        monitoring::remove_tree(doomed);
    } catch (const IoError& error) {
        monitoring::log_warning("{}; its space is not free yet", error.what());
    }
}

fs::path promoted_file(const fs::path& run_dir) { return checkpoints_of(run_dir) / "promoted.jsonl"; }
fs::path pinned_file(const fs::path& run_dir) { return checkpoints_of(run_dir) / "pinned.jsonl"; }

void append_record(const fs::path& file, const std::string& checkpoint, nlohmann::json more, std::string_view point) {
    more["checkpoint"] = checkpoint;
    more["time"] = fmt::format("{:%FT%TZ}", fmt::gmtime(std::time(nullptr)));
    // Starts with a line end, so that it does not join a line that a crash cut short.
    const std::string line = fmt::format("\n{}\n", more.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace));
    monitoring::make_directories(file.parent_path());
    auto records = monitoring::File::open_append(file);
    records.append(std::as_bytes(std::span(line)));
    records.sync(point);
    records.close();
    monitoring::sync_directory(file.parent_path());
}

std::vector<nlohmann::json> read_records(const fs::path& file) {
    std::vector<nlohmann::json> records;
    const auto text = monitoring::read_text_if_exists(file);
    for (std::string_view rest = text ? std::string_view(*text) : ""; !rest.empty();) {
        const std::string_view line = rest.substr(0, rest.find('\n'));
        rest.remove_prefix(std::min(rest.size(), line.size() + 1));
        nlohmann::json json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
        if (json.is_object() && json.contains("checkpoint") && json["checkpoint"].is_string())
            records.push_back(std::move(json));
    }
    return records;
}

std::vector<std::string> rejected_names(const fs::path& run_dir) {
    std::vector<std::string> names;
    for (const nlohmann::json& record : read_records(rejected_file(run_dir))) names.push_back(record["checkpoint"]);
    return names;
}

}  // namespace kiban::checkpoint
