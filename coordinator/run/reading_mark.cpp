// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/reading_mark.h"

#include <nlohmann/json.hpp>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <system_error>

#include "coordinator/run/file_owner.h"
#include "monitoring/error.h"
#include "monitoring/file.h"
#include "monitoring/log.h"

namespace kiban::coordinator {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr const char* kPrefix = "reader-";

double wall_seconds() {
    return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count();
}

bool counts(const json& mark, const FileOwner& reader) {
    if (reader.is_here()) return is_alive(reader.process);
    return std::abs(wall_seconds() - mark.at("time").get<double>()) < kMarkHours * 3600;
}

// Null where it is no mark, or not one that we may read: that holds nothing up.
json read_mark(const fs::path& file) {
    std::string text;
    try {
        text = monitoring::read_text_if_exists(file).value_or("");
    } catch (const IoError& error) {
        monitoring::log_warning("a reader's mark counts for nothing: {}", error.what());
    }
    json mark = json::parse(text, nullptr, /*allow_exceptions=*/false);
    const bool whole = mark.is_object() && mark.contains("checkpoint") && mark["checkpoint"].is_string() &&
                       mark.contains("time") && mark["time"].is_number();
    return whole ? mark : json(nullptr);
}

}  // namespace

ReadingMark::ReadingMark(const fs::path& checkpoint) {
    std::error_code error;
    const fs::path place = fs::canonical(checkpoint, error);
    if (error || place.parent_path().filename() != "ckpt" || !place.filename().string().starts_with("step-")) return;
    const fs::path directory = place.parent_path().parent_path() / "lease";
    if (!fs::is_directory(directory, error) || ::access(directory.c_str(), W_OK | X_OK) != 0) return;
    json mark = fields_of_this_process();
    file_ = directory / (kPrefix + mark.at("nonce").get<std::string>());
    mark["checkpoint"] = place.filename().string();
    mark["time"] = wall_seconds();
    try {
        monitoring::publish(file_, mark.dump() + "\n", "reader.mark");
    } catch (const IoError& failure) {
        monitoring::log_warning("a live run may delete '{}' while it is read: {}", place.string(), failure.what());
    }
}

ReadingMark::~ReadingMark() {
    if (!file_.empty()) monitoring::file_system().unlink(file_);
}

std::vector<std::string> checkpoints_being_read(const fs::path& run_dir) {
    const fs::path directory = run_dir / "lease";
    std::vector<std::string> names;
    if (!monitoring::anything_at(directory)) return names;
    for (const std::string& name : monitoring::names_in(directory)) {
        if (!name.starts_with(kPrefix)) continue;
        const fs::path file = directory / name;
        const json mark = read_mark(file);
        const auto reader = owner_in(mark);
        if (!reader) continue;
        if (counts(mark, *reader)) {
            names.push_back(mark.at("checkpoint").get<std::string>());
        } else {
            monitoring::file_system().unlink(file);  // what cannot be deleted is only litter
        }
    }
    return names;
}

}  // namespace kiban::coordinator
