// SPDX-License-Identifier: Apache-2.0
#include "data/near_duplicates.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <numeric>
#include <optional>
#include <string>

#include "data/duplicates.h"
#include "data/staging.h"
#include "data/tasks.h"
#include "monitoring/error.h"
#include "monitoring/file.h"

namespace kiban::data {
namespace {

using nlohmann::json;
using Magic = std::array<char, 8>;
constexpr Magic kKeysMagic = {'K', 'I', 'B', 'A', 'N', 'B', 'K', '1'};
constexpr Magic kLinksMagic = {'K', 'I', 'B', 'A', 'N', 'L', 'K', '1'};

struct Link {  // the first document of those with the same key, and another one; unit * 2^32 + number in it
    std::uint64_t first = 0;
    std::uint64_t other = 0;
};

struct Header {
    Magic magic{};
    std::uint64_t count = 0;
};

std::filesystem::path keys_file(const std::filesystem::path& corpus, std::uint64_t unit) {
    return staging_directory(corpus) / fmt::format("unit-{:06}.bands", unit);
}

std::filesystem::path links_file(const std::filesystem::path& corpus, std::uint64_t band) {
    return staging_directory(corpus) / fmt::format("band-{:02}.links", band);
}

[[noreturn]] void refuse(const std::filesystem::path& file) {
    throw IoError("cannot read '{}': it is damaged; delete the directory '{}' and start again", file.string(),
                  file.parent_path().string());
}

void publish(const std::filesystem::path& corpus, const std::filesystem::path& name, const Magic& magic,
             std::uint64_t count, std::span<const std::byte> content) {
    const Header header{magic, count};
    std::string bytes(reinterpret_cast<const char*>(&header), sizeof(header));
    bytes.append(reinterpret_cast<const char*>(content.data()), content.size());
    publish_through(staging_directory(corpus), name, bytes, "data.duplicates");
}

// The keys of one band lie together: band after band, in each the documents in order.
std::vector<std::uint64_t> read_keys(const std::filesystem::path& corpus, std::uint64_t unit, std::uint64_t band) {
    const std::filesystem::path name = keys_file(corpus, unit);
    auto file = monitoring::File::open_read(name);
    Header header;
    if (file.size() < sizeof(header)) refuse(name);
    file.read_at(0, std::as_writable_bytes(std::span(&header, 1)));
    const std::uint64_t bytes = file.size() - sizeof(header);
    if (header.magic != kKeysMagic || header.count > bytes || header.count * sizeof(BandKeys) != bytes) refuse(name);
    std::vector<std::uint64_t> keys(header.count);
    const std::uint64_t band_bytes = header.count * sizeof(keys[0]);
    file.read_at(sizeof(header) + band * band_bytes, std::as_writable_bytes(std::span(keys)));
    return keys;
}

std::optional<std::vector<Link>> read_links(const std::filesystem::path& name) {
    const auto content = monitoring::read_text_if_exists(name);
    if (!content) return std::nullopt;
    Header header;
    if (content->size() < sizeof(header)) refuse(name);
    std::memcpy(&header, content->data(), sizeof(header));
    const std::size_t bytes = content->size() - sizeof(header);
    if (header.magic != kLinksMagic || header.count > bytes || header.count * sizeof(Link) != bytes) refuse(name);
    std::vector<Link> links(header.count);
    if (bytes > 0) std::memcpy(links.data(), content->data() + sizeof(header), bytes);
    return links;
}

std::vector<Link> links_of_band(const json& task, const std::filesystem::path& corpus) {
    struct Keyed {
        std::uint64_t key;
        std::uint64_t place;
    };
    std::vector<Keyed> all;
    const auto band = task.at("band").get<std::uint64_t>();
    for (std::uint64_t unit = 0; unit < task.at("units").get<std::uint64_t>(); ++unit) {
        std::uint64_t place = unit << 32;
        for (const std::uint64_t key : read_keys(corpus, unit, band)) all.push_back({key, place++});
    }
    std::sort(all.begin(), all.end(),
              [](const Keyed& x, const Keyed& y) { return x.key != y.key ? x.key < y.key : x.place < y.place; });
    std::vector<Link> links;
    std::size_t first = 0;
    for (std::size_t i = 1; i < all.size(); ++i) {
        if (all[i].key != all[first].key) first = i;
        if (i != first) links.push_back({all[first].place, all[i].place});
    }
    return links;
}

json link_band(const json& task, const std::filesystem::path& corpus) {
    const auto band = task.at("band").get<std::uint64_t>();
    const std::filesystem::path name = links_file(corpus, band);
    auto links = read_links(name);
    if (!links) {
        links = links_of_band(task, corpus);
        publish(corpus, name, kLinksMagic, links->size(), std::as_bytes(std::span(*links)));
    }
    return {{"band", band}, {"links", links->size()}};
}

// Clusters of places, each named by its first one.
class Clusters {
  public:
    explicit Clusters(const std::vector<Link>& links) {
        for (const Link& link : links) {
            places_.push_back(link.first);
            places_.push_back(link.other);
        }
        std::sort(places_.begin(), places_.end());
        places_.erase(std::unique(places_.begin(), places_.end()), places_.end());
        parents_.resize(places_.size());
        std::iota(parents_.begin(), parents_.end(), std::size_t{0});
        for (const Link& link : links) join(index_of(link.first), index_of(link.other));
    }

    std::vector<std::uint64_t> all_but_the_first() {
        std::vector<std::uint64_t> others;
        for (std::size_t i = 0; i < places_.size(); ++i) {
            if (root_of(i) != i) others.push_back(places_[i]);
        }
        return others;
    }

  private:
    std::size_t index_of(std::uint64_t place) const {
        return static_cast<std::size_t>(std::lower_bound(places_.begin(), places_.end(), place) - places_.begin());
    }
    std::size_t root_of(std::size_t index) {
        while (parents_[index] != index) index = parents_[index] = parents_[parents_[index]];
        return index;
    }
    void join(std::size_t x, std::size_t y) {
        x = root_of(x);
        y = root_of(y);
        parents_[std::max(x, y)] = std::min(x, y);
    }

    std::vector<std::uint64_t> places_;  // sorted
    std::vector<std::size_t> parents_;   // the root of a cluster is its first place
};

json join_bands(const json& task, const std::filesystem::path& corpus) {
    const auto ranges = task.at("range").get<std::uint64_t>();
    if (const auto there = duplicates_result(corpus, ranges)) return *there;
    std::vector<Link> links;
    for (std::uint64_t band = 0; band < kBands; ++band) {
        const auto more = read_links(links_file(corpus, band));
        if (!more) throw IoError("cannot read '{}': it is gone", links_file(corpus, band).string());
        links.insert(links.end(), more->begin(), more->end());
    }
    std::vector<std::uint64_t> places = Clusters(links).all_but_the_first();
    const Duplicates equal(corpus, ranges);
    std::erase_if(places, [&](std::uint64_t place) { return equal.contains(place >> 32, place & 0xFFFF'FFFF); });
    return publish_duplicates(corpus, ranges, places, "near_duplicate");
}

/// Another process may have finished the corpus and removed the staging directory under our feet.
template <typename Work>
json unless_superseded(const json& task, const char* key, const Work& work) {
    const std::filesystem::path corpus = decode_name(task.at("directory").get<std::string>());
    try {
        return work(task, corpus);
    } catch (const IoError&) {
        if (!monitoring::anything_at(published_manifest(corpus))) throw;
        return {{key, task.at(key)}, {"superseded", true}};
    }
}

}  // namespace

void BandKeySink::begin(const Piece& piece, std::uint64_t offset) { next_.begin(piece, offset); }

void BandKeySink::add(std::span<const std::byte> text) {
    keys_.push_back(band_keys({reinterpret_cast<const char*>(text.data()), text.size()}));
    next_.add(text);
}

void BandKeySink::end(bool complete) {
    next_.end(complete);
    if (staged_() < keys_.size()) keys_.pop_back();
}

void BandKeySink::publish(const std::filesystem::path& corpus, std::uint64_t unit) const {
    KIBAN_CHECK(keys_.size() == staged_(), "{} keys of {} staged documents", keys_.size(), staged_());
    std::vector<std::uint64_t> by_band;
    by_band.reserve(keys_.size() * kBands);
    for (std::size_t band = 0; band < kBands; ++band) {
        for (const BandKeys& keys : keys_) by_band.push_back(keys[band]);
    }
    data::publish(corpus, keys_file(corpus, unit), kKeysMagic, keys_.size(), std::as_bytes(std::span(by_band)));
}

json run_band(const json& task) { return unless_superseded(task, "band", link_band); }

json run_cluster(const json& task) { return unless_superseded(task, "range", join_bands); }

}  // namespace kiban::data
