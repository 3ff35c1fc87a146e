// SPDX-License-Identifier: Apache-2.0
#include "data/clean/min_hash.h"

#include <xxhash.h>

#include <algorithm>
#include <limits>
#include <span>
#include <vector>

#include "data/clean/word_hashes.h"

namespace kiban::data {
namespace {

constexpr std::size_t kBins = kBands * kBandRows;
constexpr std::uint64_t kEmpty = std::numeric_limits<std::uint64_t>::max();

using Minima = std::array<std::uint64_t, kBins>;

// MurmurHash3's 64-bit finaliser: a bijection.
std::uint64_t mix(std::uint64_t value) {
    value = (value ^ value >> 33) * 0xff51afd7ed558ccd;
    value = (value ^ value >> 33) * 0xc4ceb9fe1a85ec53;
    return value ^ value >> 33;
}

// The upper half says in which bin a run is, all of it which of the bin's is least.
void take(std::uint64_t run, Minima& minima) {
    std::uint64_t& least = minima[static_cast<std::size_t>((run >> 32) * kBins >> 32)];
    least = std::min({least, mix(run), kEmpty - 1});
}

// An empty bin asks others in an order of its own, which is the same for all texts.
void densify(Minima& minima) {
    const Minima full = minima;
    for (std::size_t bin = 0; bin < kBins; ++bin) {
        for (std::uint64_t attempt = 1; minima[bin] == kEmpty; ++attempt) {
            const std::uint64_t other = mix(bin << 32 | attempt) >> 32;
            minima[bin] = full[static_cast<std::size_t>(other * kBins >> 32)];
        }
    }
}

}  // namespace

BandKeys band_keys(std::string_view text) {
    Minima minima;
    minima.fill(kEmpty);
    const std::vector<std::uint64_t> words = word_hashes(text);
    const std::span<const std::uint64_t> all(words);
    if (words.empty()) {
        take(XXH3_64bits(text.data(), text.size()), minima);
    } else if (words.size() < kShingleWords) {
        take(run_hash(all), minima);
    } else {
        for (std::size_t at = 0; at + kShingleWords <= words.size(); ++at)
            take(run_hash(all.subspan(at, kShingleWords)), minima);
    }
    densify(minima);
    BandKeys keys{};
    for (std::size_t band = 0; band < kBands; ++band) {
        keys[band] = XXH3_64bits_withSeed(minima.data() + band * kBandRows, kBandRows * sizeof(minima[0]), band);
    }
    return keys;
}

}  // namespace kiban::data
