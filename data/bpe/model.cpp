// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/model.h"

#include <bit>

#include "monitoring/error.h"

namespace kiban::data {
namespace {

enum class Which { ordinary, special, all };

std::optional<Regex> added_of(const BpeDefinition& definition, Which which) {
    std::vector<std::string> texts;
    for (const AddedToken& token : definition.added) {
        if (which == Which::all || token.special == (which == Which::special)) texts.push_back(token.text);
    }
    if (texts.empty()) return std::nullopt;
    return Regex::any_of(std::move(texts));
}

}  // namespace

MergeTable::MergeTable(std::size_t merges) {
    const std::size_t slots = std::bit_ceil(std::max<std::size_t>(2 * merges, 16));
    slots_.resize(slots);
    mask_ = slots - 1;
    shift_ = static_cast<unsigned>(64 - std::countr_zero(slots));
}

void MergeTable::insert(std::uint32_t left, std::uint32_t right, Merged merged) {
    const std::uint64_t key = std::uint64_t{left} << 32 | right;
    std::size_t slot = slot_of(key);
    while (slots_[slot].key != kFree) slot = (slot + 1) & mask_;
    slots_[slot] = {key, merged};
}

BpeModel::BpeModel(BpeDefinition definition)
    : definition_(std::move(definition)),
      merges_(definition_.merges.size()),
      splitters_(definition_.patterns),
      ordinary_added_(added_of(definition_, Which::ordinary)),
      special_added_(added_of(definition_, Which::special)),
      all_added_(added_of(definition_, Which::all)) {
    std::unordered_map<std::string_view, std::uint32_t> ids;
    for (std::uint32_t id = 0; id < definition_.vocabulary(); ++id) {
        const std::string& bytes = definition_.tokens[id];
        if (bytes.empty()) continue;
        ids.emplace(bytes, id);
        if (bytes.size() == 1) byte_tokens_[static_cast<unsigned char>(bytes[0])] = id;
    }
    std::vector<std::uint32_t> made_after(definition_.vocabulary(), 0);  // by token: the last merge that makes it, + 1
    for (std::uint32_t rank = 0; rank < definition_.merges.size(); ++rank) {
        const auto [left, right] = definition_.merges[rank];
        const auto merged = ids.find(definition_.tokens[left] + definition_.tokens[right]);
        KIBAN_CHECK(merged != ids.end(), "merge {} makes no token", rank);
        merges_.insert(left, right, {rank, merged->second});
        made_after[merged->second] = rank + 1;
    }
    for (std::uint32_t rank = 0; rank < definition_.merges.size(); ++rank) {
        const auto [left, right] = definition_.merges[rank];
        in_order_ = in_order_ && made_after[left] <= rank && made_after[right] <= rank;
    }
    if (definition_.ignore_merges) whole_ = std::move(ids);
    for (const AddedToken& token : definition_.added) {
        added_.emplace(token.text, token.id);
        added_texts_.emplace(token.id, &token.text);
    }
}

std::optional<std::uint32_t> BpeModel::whole_piece(std::string_view piece) const {
    const auto found = whole_.find(piece);
    if (found == whole_.end()) return std::nullopt;
    return found->second;
}

std::uint32_t BpeModel::added_token(std::string_view text) const {
    const auto found = added_.find(text);
    KIBAN_CHECK(found != added_.end(), "no added token '{}'", text);
    return found->second;
}

const std::string* BpeModel::bytes_of(std::uint64_t id) const {
    if (id >= definition_.vocabulary()) return nullptr;
    const auto added = added_texts_.find(static_cast<std::uint32_t>(id));
    if (added != added_texts_.end()) return added->second;
    const std::string& bytes = definition_.tokens[static_cast<std::size_t>(id)];
    return bytes.empty() ? nullptr : &bytes;
}

}  // namespace kiban::data
