// SPDX-License-Identifier: Apache-2.0
#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <tuple>

#include "data/duplicates.h"
#include "data/staging.h"
#include "data/tasks.h"
#include "data/units.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using nlohmann::json;
using Magic = std::array<char, 8>;
constexpr Magic kMagic = {'K', 'I', 'B', 'A', 'N', 'D', 'U', '1'};

__extension__ using Wide = unsigned __int128;

struct Footer {  // the last bytes of a file of duplicates
    std::uint64_t documents = 0;
    std::uint64_t result_bytes = 0;
    Magic magic{};
};

struct Seen {
    DocumentId id{};
    std::uint64_t place = 0;  // unit * 2^32 + number in it

    bool operator<(const Seen& other) const { return std::tie(id, place) < std::tie(other.id, other.place); }
};

std::uint64_t range_of(const DocumentId& id, std::uint64_t ranges) {
    std::uint64_t head = 0;
    for (std::size_t i = 0; i < 8; ++i) head = head << 8 | std::to_integer<std::uint64_t>(id[i]);
    return static_cast<std::uint64_t>(static_cast<Wide>(head) * ranges >> 64);
}

StagedUnit open_unit(const std::filesystem::path& corpus, std::uint64_t unit) {
    auto staged = StagedUnit::open(staged_unit_file(corpus, unit));
    if (!staged) throw IoError("cannot read staged unit '{}': it is gone", staged_unit_file(corpus, unit).string());
    return std::move(*staged);
}

std::vector<Seen> documents_of_range(const json& task, const std::filesystem::path& corpus) {
    const auto range = task.at("range").get<std::uint64_t>();
    const auto ranges = task.at("ranges").get<std::uint64_t>();
    std::vector<Seen> seen;
    for (std::uint64_t unit = 0; unit < task.at("units").get<std::uint64_t>(); ++unit) {
        std::uint64_t place = unit << 32;
        for (const StagedDocument& document : open_unit(corpus, unit).documents()) {
            KIBAN_CHECK(document.part == 0, "unit {} holds a text in parts, which cannot be compared", unit);
            if (range_of(document.id, ranges) == range) seen.push_back({document.id, place});
            ++place;
        }
    }
    return seen;
}

// Of each unit, what is left out of it: documents, and their tokens of each split. `places` are sorted.
json units_of(const std::filesystem::path& corpus, const std::vector<std::uint64_t>& places) {
    json units = json::array();
    for (std::size_t i = 0; i < places.size();) {
        const std::uint64_t unit = places[i] >> 32;
        const std::vector<StagedDocument> documents = open_unit(corpus, unit).documents();
        const std::size_t first = i;
        std::array<std::uint64_t, 2> tokens{};  // to train on, held out
        for (; i < places.size() && places[i] >> 32 == unit; ++i) {
            const StagedDocument& document = documents.at(places[i] & 0xFFFF'FFFF);
            tokens[document.held_out != 0 ? 1 : 0] += document.tokens;
        }
        units.push_back({unit, i - first, tokens[0], tokens[1]});
    }
    return units;
}

void publish(const std::filesystem::path& corpus, std::uint64_t range, const std::vector<std::uint64_t>& places,
             const json& result) {
    const std::string text = result.dump();
    const Footer footer{places.size(), text.size(), kMagic};
    std::string content;
    const auto append = [&](std::span<const std::byte> bytes) {
        content.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    };
    append(std::as_bytes(std::span(places)));
    content += text;
    append(std::as_bytes(std::span(&footer, 1)));
    publish_through(staging_directory(corpus), duplicates_file(corpus, range), content, "data.duplicates");
}

struct Loaded {
    std::vector<std::uint64_t> places;
    json result;
};

std::optional<Loaded> load(const std::filesystem::path& file) {
    const auto content = monitoring::read_text_if_exists(file);
    if (!content) return std::nullopt;
    Footer footer;
    Loaded loaded;
    if (content->size() >= sizeof(footer)) {
        const std::uint64_t body = content->size() - sizeof(footer);
        std::memcpy(&footer, content->data() + body, sizeof(footer));
        const std::uint64_t places_bytes = footer.documents * sizeof(std::uint64_t);
        if (footer.magic == kMagic && footer.documents <= body && places_bytes + footer.result_bytes == body) {
            loaded.places.resize(footer.documents);
            if (places_bytes > 0) std::memcpy(loaded.places.data(), content->data(), places_bytes);
            loaded.result = json::parse(content->substr(places_bytes, footer.result_bytes), nullptr, false);
            if (!loaded.result.is_discarded()) return loaded;
        }
    }
    throw IoError("cannot read the duplicates '{}': they are damaged; delete the directory '{}' and start again",
                  file.string(), file.parent_path().string());
}

json dedupe(const json& task, const std::filesystem::path& corpus) {
    const auto range = task.at("range").get<std::uint64_t>();
    if (const auto there = duplicates_result(corpus, range)) return *there;
    std::vector<Seen> seen = documents_of_range(task, corpus);
    std::sort(seen.begin(), seen.end());
    std::vector<std::uint64_t> places;
    for (std::size_t i = 1; i < seen.size(); ++i) {
        if (seen[i].id == seen[i - 1].id) places.push_back(seen[i].place);
    }
    std::sort(places.begin(), places.end());
    return publish_duplicates(corpus, range, places, "duplicate");
}

}  // namespace

std::uint64_t duplicate_ranges(std::uint64_t documents) { return documents / kDocumentsOfRange + 1; }

std::filesystem::path duplicates_file(const std::filesystem::path& corpus, std::uint64_t range) {
    return staging_directory(corpus) / fmt::format("range-{:05}.duplicates", range);
}

std::optional<json> duplicates_result(const std::filesystem::path& corpus, std::uint64_t range) {
    auto there = load(duplicates_file(corpus, range));
    if (!there) return std::nullopt;
    return std::move(there->result);
}

json publish_duplicates(const std::filesystem::path& corpus, std::uint64_t range,
                        const std::vector<std::uint64_t>& places, const std::string& reason) {
    json result{{"range", range}, {"reason", reason}, {"units", units_of(corpus, places)}};
    publish(corpus, range, places, result);
    return result;
}

json run_dedupe(const json& task) {
    const std::filesystem::path corpus = decode_name(task.at("directory").get<std::string>());
    try {
        return dedupe(task, corpus);
    } catch (const IoError&) {
        // Another process may have finished the corpus and removed the staging directory under our feet.
        if (!monitoring::anything_at(published_manifest(corpus))) throw;
        return {{"range", task.at("range")}, {"superseded", true}};
    }
}

Duplicates::Duplicates(const std::filesystem::path& corpus, std::uint64_t ranges) {
    for (std::uint64_t range = 0; range < ranges; ++range) {
        const auto there = load(duplicates_file(corpus, range));
        if (!there)
            throw IoError("cannot read the duplicates '{}': they are gone", duplicates_file(corpus, range).string());
        sorted_.insert(sorted_.end(), there->places.begin(), there->places.end());
    }
    std::sort(sorted_.begin(), sorted_.end());
}

bool Duplicates::contains(std::uint64_t unit, std::uint64_t document) const {
    return std::binary_search(sorted_.begin(), sorted_.end(), unit << 32 | document);
}

}  // namespace kiban::data
