// SPDX-License-Identifier: Apache-2.0
#include "data/clean/ngram_set.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <span>

#include "data/clean/word_hashes.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using nlohmann::json;
using Magic = std::array<char, 8>;
constexpr Magic kMagic = {'K', 'I', 'B', 'A', 'N', 'N', 'G', '1'};

struct Header {
    Magic magic{};
    std::uint64_t entries = 0;
    std::uint64_t json_bytes = 0;
};

[[noreturn]] void refuse(const std::filesystem::path& file) {
    throw DataError(
        "cannot read the runs of evaluation files '{}': it is damaged; delete the directory '{}' and start again",
        file.string(), file.parent_path().string());
}

}  // namespace

std::size_t NgramSet::add_file(std::string name) {
    files_.push_back({std::move(name), 0, 0, 0});
    return files_.size() - 1;
}

void NgramSet::add_document(std::size_t file, std::string_view text) {
    const std::vector<std::uint64_t> words = word_hashes(text);
    ++files_.at(file).documents;
    if (words.size() < words_) ++files_[file].too_short;
    for (std::size_t at = 0; at + words_ <= words.size(); ++at)
        entries_.push_back({run_hash(std::span(words).subspan(at, words_)), file});
}

void NgramSet::close() {
    std::sort(entries_.begin(), entries_.end());
    entries_.erase(std::unique(entries_.begin(), entries_.end()), entries_.end());
    for (EvaluationFile& file : files_) file.runs = 0;
    for (const Entry& entry : entries_) ++files_[entry.file].runs;
    make_filter();
}

void NgramSet::make_filter() {
    // At least 16 bits an entry: of runs that are not there one in 16 has to be searched for.
    const std::uint64_t bits = std::bit_ceil(std::max<std::uint64_t>(entries_.size() * 16, 64));
    shift_ = 64 - std::countr_zero(bits);
    filter_.assign(bits / 64, 0);
    for (const Entry& entry : entries_) {
        const std::uint64_t bit = entry.hash >> shift_;
        filter_[bit / 64] |= std::uint64_t{1} << bit % 64;
    }
}

bool NgramSet::may_hold(std::uint64_t hash) const {
    const std::uint64_t bit = hash >> shift_;
    return (filter_[bit / 64] >> bit % 64 & 1) != 0;
}

std::vector<std::size_t> NgramSet::shared_with(std::string_view text) const {
    KIBAN_CHECK(!filter_.empty(), "runs are looked for before the set is closed");
    const std::vector<std::uint64_t> words = word_hashes(text);
    std::vector<bool> shared(files_.size());
    for (std::size_t at = 0; at + words_ <= words.size(); ++at) {
        const std::uint64_t hash = run_hash(std::span(words).subspan(at, words_));
        if (!may_hold(hash)) continue;
        for (auto entry = std::ranges::lower_bound(entries_, hash, {}, &Entry::hash);
             entry != entries_.end() && entry->hash == hash; ++entry)
            shared[entry->file] = true;
    }
    std::vector<std::size_t> files;
    for (std::size_t file = 0; file < shared.size(); ++file) {
        if (shared[file]) files.push_back(file);
    }
    return files;
}

std::string NgramSet::to_bytes() const {
    json files = json::array();
    for (const EvaluationFile& file : files_) files.push_back({file.name, file.documents, file.too_short, file.runs});
    const std::string text = json{{"words", words_}, {"files", std::move(files)}}.dump();
    const Header header{kMagic, entries_.size(), text.size()};
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    bytes += text;
    bytes.append(reinterpret_cast<const char*>(entries_.data()), entries_.size() * sizeof(Entry));
    return bytes;
}

NgramSet NgramSet::load(const std::filesystem::path& file) {
    const std::string bytes = monitoring::read_text(file);
    Header header;
    if (bytes.size() < sizeof(header)) refuse(file);
    std::memcpy(&header, bytes.data(), sizeof(header));
    const std::uint64_t rest = bytes.size() - sizeof(header);
    if (header.magic != kMagic || header.json_bytes > rest || header.entries > rest ||
        header.json_bytes + header.entries * sizeof(Entry) != rest)
        refuse(file);
    const json about = json::parse(std::string_view(bytes).substr(sizeof(header), header.json_bytes), nullptr, false);
    if (about.is_discarded()) refuse(file);
    NgramSet set(about.at("words").get<std::uint64_t>());
    for (const json& known : about.at("files")) {
        set.files_.push_back({known.at(0).get<std::string>(), known.at(1).get<std::uint64_t>(),
                              known.at(2).get<std::uint64_t>(), known.at(3).get<std::uint64_t>()});
    }
    set.entries_.resize(header.entries);
    if (header.entries > 0)
        std::memcpy(set.entries_.data(), bytes.data() + sizeof(header) + header.json_bytes,
                    header.entries * sizeof(Entry));
    const auto strange = [&](const Entry& entry) { return entry.file >= set.files_.size(); };
    if (set.words_ == 0 || std::ranges::any_of(set.entries_, strange) || !std::ranges::is_sorted(set.entries_))
        refuse(file);
    set.make_filter();
    return set;
}

}  // namespace kiban::data
