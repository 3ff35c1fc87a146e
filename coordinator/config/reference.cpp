// SPDX-License-Identifier: Apache-2.0
#include "coordinator/config/reference.h"

#include <fmt/format.h>

#include "coordinator/config/key_table.h"

namespace kiban::coordinator {
namespace {

const char* word_of(Change change) {
    switch (change) {
        case Change::fixed: return "fixed";
        case Change::resumable: return "may change";
        case Change::live: return "live";
    }
    return "";
}

template <typename Target>
std::string row(const Key<Target>& key, const std::string& name) {
    const std::string unit = key.unit.empty() ? "" : fmt::format(" {}", key.unit);
    return fmt::format("| `{}` | `{}`{} | {} | {} | {} |", name, key.text(Target{}), unit, key.expected,
                       word_of(key.change), key.reason);
}

}  // namespace

std::vector<ReferenceSection> run_file_reference() {
    std::vector<ReferenceSection> sections;
    for (const auto& key : run_file_keys()) {
        const std::size_t dot = key.name.rfind('.');
        const std::string section = key.name.substr(0, dot);
        if (sections.empty() || sections.back().name != section) sections.push_back({section, {}});
        sections.back().rows.push_back(row(key, key.name.substr(dot + 1)));
    }
    sections.push_back({kSources, {}});
    for (const auto& key : source_keys()) sections.back().rows.push_back(row(key, key.name));
    return sections;
}

}  // namespace kiban::coordinator
