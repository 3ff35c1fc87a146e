// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/encoder.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace kiban::data {
namespace {

constexpr std::size_t kPiecesAtOnce = 512;
constexpr unsigned kCacheBits = 16;  // 2 MiB: what a core's second-level cache holds most of

std::unique_ptr<Matcher> matcher_of(const std::optional<Regex>& regex) {
    return regex ? std::make_unique<Matcher>(*regex) : nullptr;
}

}  // namespace

BpeEncoder::BpeEncoder(std::shared_ptr<const BpeModel> model, SplitPath path)
    : model_(std::move(model)),
      splitter_(path == SplitPath::fastest ? model_->splitters().make() : model_->splitters().make_generic()),
      merger_(*model_),
      ends_(kPiecesAtOnce),
      cache_(std::size_t{1} << kCacheBits),
      ordinary_(matcher_of(model_->ordinary_added())),
      special_(matcher_of(model_->special_added())),
      all_(matcher_of(model_->all_added())) {}

BpeEncoder::Key BpeEncoder::key_of(std::string_view text, std::size_t begin, std::size_t bytes) {
    Key key;
    if (begin + 16 <= text.size()) {
        std::memcpy(&key.low, text.data() + begin, 8);
        std::memcpy(&key.high, text.data() + begin + 8, 8);
        const std::uint64_t all = ~std::uint64_t{0};
        key.low &= bytes >= 8 ? all : all >> (64 - 8 * bytes);
        key.high &= bytes <= 8 ? 0 : all >> (128 - 8 * bytes);
    } else {
        std::memcpy(&key.low, text.data() + begin, std::min<std::size_t>(bytes, 8));
        if (bytes > 8) std::memcpy(&key.high, text.data() + begin + 8, bytes - 8);
    }
    key.high |= std::uint64_t{bytes} << 56;
    return key;
}

std::size_t BpeEncoder::slot_of(const Key& key) {
    const std::uint64_t mixed = (key.low ^ std::rotl(key.high, 29)) * 0x9E3779B97F4A7C15u;
    return static_cast<std::size_t>(((mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93u) >> (64 - kCacheBits));
}

std::size_t BpeEncoder::encode_piece(std::string_view text, std::size_t begin, std::size_t end, std::uint32_t* ids) {
    const std::size_t bytes = end - begin;
    if (bytes > kCachedBytes) return merger_.merge(text.substr(begin, bytes), ids);
    const Key key = key_of(text, begin, bytes);
    Cached& cached = cache_[slot_of(key)];
    if (cached.low == key.low && cached.high == key.high) {
        std::memcpy(ids, cached.ids, sizeof(cached.ids));
        return cached.count;
    }
    const std::size_t count = merger_.merge(text.substr(begin, bytes), ids);
    if (count <= kCachedIds) {
        cached.low = key.low;
        cached.high = key.high;
        std::copy_n(ids, count, cached.ids);
        cached.count = static_cast<std::uint32_t>(count);
    }
    return count;
}

std::size_t BpeEncoder::encode_plain(std::string_view text, std::size_t stop, std::uint32_t* ids) {
    splitter_->begin(text);
    std::size_t begin = 0;
    std::size_t made = 0;
    while (begin < stop) {
        const std::size_t pieces = splitter_->next(ends_);
        for (std::size_t i = 0; i < pieces && begin < stop; ++i) {
            const std::size_t end = std::min<std::size_t>(ends_[i], stop);
            made += encode_piece(text, begin, end, ids + made);
            begin = end;
        }
    }
    return made;
}

template <typename Found>
void BpeEncoder::cut_out(Matcher& matcher, std::string_view text, std::size_t stop, const Found& found) {
    std::size_t at = 0;
    while (at < stop) {
        const auto match = matcher.find(text, at);
        if (!match || match->end > stop) break;
        found(at, match->begin, match->end);
        at = match->end;
    }
    found(at, stop, stop);
}

std::size_t BpeEncoder::encode(std::string_view text, std::size_t stop, std::uint32_t* ids) {
    if (!ordinary_) return encode_plain(text, stop, ids);
    std::size_t made = 0;
    cut_out(*ordinary_, text, stop, [&](std::size_t from, std::size_t begin, std::size_t end) {
        // The text before an added token ends there; what follows the last one may look at what comes after `stop`.
        const std::string_view part = begin < end ? text.substr(from, begin - from) : text.substr(from);
        if (begin > from) made += encode_plain(part, begin - from, ids + made);
        if (begin < end) ids[made++] = model_->added_token(text.substr(begin, end - begin));
    });
    return made;
}

std::vector<std::uint32_t> BpeEncoder::encode_with_special(std::string_view text) {
    std::vector<std::uint32_t> ids(text.size() + kSlack);
    if (!all_) {
        ids.resize(encode_plain(text, text.size(), ids.data()));
        return ids;
    }
    std::size_t made = 0;
    cut_out(*all_, text, text.size(), [&](std::size_t from, std::size_t begin, std::size_t end) {
        made += encode_plain(text.substr(from, begin - from), begin - from, ids.data() + made);
        if (begin < end) ids[made++] = model_->added_token(text.substr(begin, end - begin));
    });
    ids.resize(made);
    return ids;
}

std::uint64_t BpeEncoder::count_special(std::string_view text) {
    if (!special_) return 0;
    std::uint64_t count = 0;
    cut_out(*special_, text, text.size(),
            [&](std::size_t, std::size_t begin, std::size_t end) { count += begin < end ? 1u : 0u; });
    return count;
}

}  // namespace kiban::data
