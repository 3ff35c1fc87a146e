// SPDX-License-Identifier: Apache-2.0
#include "coordinator/run/run_directory.h"

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <random>

#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::coordinator {
namespace {

using nlohmann::json;
constexpr int kFormat = 1;

std::string random_id() {
    std::random_device device;
    return fmt::format("{:08x}{:08x}", device(), device());
}

std::string text_field(const json& object, const char* name, const std::filesystem::path& file) {
    const auto found = object.find(name);
    if (found == object.end() || !found->is_string())
        throw ConfigError("cannot understand '{}': field '{}' is missing", file.string(), name);
    return found->get<std::string>();
}

json read_object(const std::filesystem::path& file) {
    json parsed = json::parse(monitoring::read_text(file), nullptr, /*allow_exceptions=*/false);
    if (!parsed.is_object()) throw ConfigError("cannot understand '{}': not a JSON object", file.string());
    const json format = parsed.value("format", json());
    if (format != kFormat) {
        throw ConfigError("cannot understand '{}': format {}, this version reads {}", file.string(), format.dump(),
                          kFormat);
    }
    return parsed;
}

}  // namespace

std::string RunDirectory::open_or_create() {
    monitoring::make_directories(root_);
    if (!monitoring::anything_at(identity())) {
        monitoring::publish(identity(), json{{"format", kFormat}, {"run", random_id()}}.dump() + "\n");
    }
    return text_field(read_object(identity()), "run", identity());
}

std::string run_id_of(const RunDirectory& directory) {
    if (!monitoring::anything_at(directory.identity())) return "";
    return text_field(read_object(directory.identity()), "run", directory.identity());
}

std::vector<std::string> RunDirectory::set_aside(std::uint32_t attempt) const {
    const auto old = root_ / fmt::format("old-{}", attempt);
    std::vector<std::string> moved;
    for (const char* name : {"ckpt", "curve", "report.html", "run.toml"}) {
        if (!monitoring::anything_at(root_ / name)) continue;
        monitoring::make_directories(old);
        monitoring::rename_durably(root_ / name, old / name);
        moved.emplace_back(name);
    }
    return moved;
}

void write_corpus_reference(const RunDirectory& directory, const CorpusReference& reference) {
    const json content = {{"format", kFormat}, {"manifest", reference.manifest.string()}, {"digest", reference.digest}};
    monitoring::publish(directory.corpus(), content.dump(2) + "\n");
}

CorpusReference read_corpus_reference(const RunDirectory& directory) {
    if (!monitoring::anything_at(directory.corpus())) {
        throw ConfigError("'{}' has no corpus yet ('{}' is missing): start it with 'kiban pretrain'",
                          directory.root().string(), directory.corpus().filename().string());
    }
    const json content = read_object(directory.corpus());
    return {text_field(content, "manifest", directory.corpus()), text_field(content, "digest", directory.corpus())};
}

}  // namespace kiban::coordinator
