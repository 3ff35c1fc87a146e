// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/audit_log.h"

#include "data/digest.h"
#include "monitoring/error.h"

namespace kiban::data {

std::string AuditLog::first_digest() { return sha256(""); }

void AuditLog::add(nlohmann::json line) {
    line["line"] = ++lines_;
    line["previous"] = previous_;
    const std::string text = line.dump();
    previous_ = sha256(text);
    text_ += text + "\n";
}

std::vector<nlohmann::json> verified_audit_log(std::string_view text, const AuditHead& head, const std::string& name) {
    std::vector<nlohmann::json> lines;
    std::string previous = sha256("");
    while (!text.empty()) {
        const std::size_t end = text.find('\n');
        const std::string_view line = text.substr(0, end);
        auto parsed = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
        const std::uint64_t number = lines.size() + 1;
        if (end == std::string_view::npos || !parsed.is_object() || parsed.value("previous", "") != previous ||
            parsed.value("line", std::uint64_t{0}) != number) {
            throw DataError("the audit log '{}' was changed: its line {} does not follow from those before", name,
                            number);
        }
        previous = sha256(line);
        lines.push_back(std::move(parsed));
        text.remove_prefix(end + 1);
    }
    if (lines.size() == head.lines && previous == head.sha256) return lines;
    throw DataError("the audit log '{}' was changed: expected {} lines that end in {}, found {} that end in {}", name,
                    head.lines, head.sha256, lines.size(), previous);
}

}  // namespace kiban::data
