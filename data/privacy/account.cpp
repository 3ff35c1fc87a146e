// SPDX-License-Identifier: Apache-2.0
#include "data/privacy/account.h"

#include "data/clean/counts.h"
#include "data/privacy/anonymiser.h"
#include "data/privacy/audit_log.h"

namespace kiban::data {
namespace {

using nlohmann::json;

json line_of(const Unit& unit, const std::string& kind, std::string_view op, const Manifest& manifest) {
    const bool keyed = op == name_of(Operator::pseudonym) || op == name_of(Operator::encrypt);
    return {{"unit", unit.id},
            {"source", manifest.sources[unit.source].name},
            {"kind", kind},
            {"operator", op},
            {"rules", manifest.anonymise_rules},
            {"key_id", keyed ? manifest.key_id : ""}};
}

void add_unit(AuditLog& log, const Unit& unit, const CleanCounts& counts, const Manifest& manifest) {
    for (const auto& [kind, redaction] : counts.redacted) {
        json line = line_of(unit, kind, manifest.anonymised.at(kind), manifest);
        line["values"] = redaction.values;
        line["documents"] = redaction.documents;
        line["bytes_before"] = redaction.bytes_before;
        line["bytes_after"] = redaction.bytes_after;
        line["ids"] = counts.affected.at(kind);
        log.add(std::move(line));
    }
    constexpr std::string_view kDropped = "personal_";
    for (const auto& [reason, documents] : counts.dropped) {
        const bool failed = reason == "anonymiser_failed";
        if (!failed && !reason.starts_with(kDropped)) continue;
        json line = line_of(unit, failed ? std::string() : reason.substr(kDropped.size()),
                            failed ? std::string_view("failed") : name_of(Operator::drop), manifest);
        line["documents"] = documents;
        log.add(std::move(line));
    }
}

}  // namespace

std::string account_for_anonymising(const DataConfig& config, const std::vector<Unit>& units,
                                    const std::vector<json>& results, Manifest& manifest) {
    const auto operators = operators_of(config.clean.anonymise);
    for (std::size_t kind = 0; kind < kKinds; ++kind) {
        if (operators[kind] != Operator::keep)
            manifest.anonymised[std::string(kKindNames[kind])] = name_of(operators[kind]);
    }
    if (!manifest.has_audit()) return {};
    manifest.anonymise_rules = std::string(kRuleVersion);
    manifest.key_id = config.clean.anonymise.key_id;
    if (manifest.anonymised.contains(std::string(name_of(Kind::name))))
        manifest.names_id = config.clean.anonymise.names_id;
    manifest.approved_by = config.clean.anonymise.approved_by;
    AuditLog log;
    for (std::size_t i = 0; i < units.size(); ++i)
        add_unit(log, units[i], clean_counts_from_json(results[i].at("cleaned")), manifest);
    manifest.audit = log.head();
    return log.text();
}

}  // namespace kiban::data
