// SPDX-License-Identifier: Apache-2.0
#include "data/bpe/encoder.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

namespace kiban::data {
namespace {

constexpr std::size_t kPiecesAtOnce = 512;
constexpr std::size_t kAhead = 32;              // so many pieces are looked for in memory at once
constexpr std::size_t kFirstBuckets = 1u << 8;  // 16 KiB
constexpr std::size_t kMostBuckets = 1u << 17;  // 8 MiB

std::unique_ptr<Matcher> matcher_of(const std::optional<Regex>& regex) {
    return regex ? std::make_unique<Matcher>(*regex) : nullptr;
}

}  // namespace

BpeEncoder::BpeEncoder(std::shared_ptr<const BpeModel> model, SplitPath path)
    : model_(std::move(model)),
      splitter_(path == SplitPath::fastest ? model_->splitters().make() : model_->splitters().make_generic()),
      merger_(*model_),
      ends_(kPiecesAtOnce),
      cache_(kFirstBuckets),
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

std::size_t BpeEncoder::slot_of(const Key& key) const {
    const std::uint64_t mixed = (key.low ^ std::rotl(key.high, 29)) * 0x9E3779B97F4A7C15u;
    return static_cast<std::size_t>((mixed ^ mixed >> 32) * 0xD6E8FEB86659FD93u >> 32) & (cache_.size() - 1);
}

void BpeEncoder::grow() {
    std::vector<Bucket> smaller(4 * cache_.size());
    smaller.swap(cache_);
    for (const Bucket& bucket : smaller) {
        for (std::size_t i = std::size(bucket.entries); i-- > 0;) {  // the newest last, so that it stays
            const Cached& cached = bucket.entries[i];
            if (cached.key.high != 0) put(cache_[slot_of(cached.key)], cached);
        }
    }
}

void BpeEncoder::put(Bucket& bucket, const Cached& cached) {
    bucket.entries[1] = bucket.entries[0];
    bucket.entries[0] = cached;
}

std::size_t BpeEncoder::encode_piece(std::string_view text, const Piece& piece, std::uint32_t* ids) {
    const std::string_view bytes = text.substr(piece.begin, piece.bytes);
    if (piece.bucket == nullptr) return merger_.merge(bytes, ids);
    for (const Cached& cached : piece.bucket->entries) {
        if (cached.key != piece.key) continue;
        std::memcpy(ids, cached.ids, sizeof(cached.ids));
        return cached.count;
    }
    const std::size_t count = merger_.merge(bytes, ids);
    if (count <= kCachedIds) {
        Cached cached{piece.key, {}, static_cast<std::uint32_t>(count)};
        std::copy_n(ids, count, cached.ids);
        put(*piece.bucket, cached);
        ++put_in_;
    }
    return count;
}

// Where a piece's tokens may lie is known long before they are wanted, so memory is waited for once for many.
std::size_t BpeEncoder::encode_pieces(std::string_view text, std::size_t begin, std::span<const std::uint32_t> ends,
                                      std::uint32_t* ids) {
    std::array<Piece, kAhead> pieces;
    std::size_t made = 0;
    while (!ends.empty()) {
        const std::size_t count = std::min(ends.size(), kAhead);
        for (std::size_t i = 0; i < count; ++i) {
            Piece& piece = pieces[i];
            piece.begin = begin;
            piece.bytes = ends[i] - begin;
            piece.bucket = nullptr;
            if (piece.bytes <= kCachedBytes) {
                piece.key = key_of(text, begin, piece.bytes);
                piece.bucket = &cache_[slot_of(piece.key)];
                __builtin_prefetch(piece.bucket, 1);
            }
            begin = ends[i];
        }
        for (std::size_t i = 0; i < count; ++i) made += encode_piece(text, pieces[i], ids + made);
        ends = ends.subspan(count);
        if (put_in_ > cache_.size() && cache_.size() < kMostBuckets) {
            grow();
            put_in_ = cache_.size() / 4;
        }
    }
    return made;
}

std::size_t BpeEncoder::encode_plain(std::string_view text, std::size_t stop, std::uint32_t* ids) {
    splitter_->begin(text);
    std::size_t begin = 0;
    std::size_t made = 0;
    while (begin < stop) {
        auto ends = std::span(ends_).first(splitter_->next(ends_));
        if (ends.back() >= stop) {
            const auto last = std::ranges::lower_bound(ends, static_cast<std::uint32_t>(stop));
            *last = static_cast<std::uint32_t>(stop);
            ends = ends.first(static_cast<std::size_t>(last - ends.begin()) + 1);
        }
        made += encode_pieces(text, begin, ends, ids + made);
        begin = ends.back();
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
