// SPDX-License-Identifier: Apache-2.0
// Attention in tiles of queries over all heads at once: as the native kernel, nothing above a tile's last query is
// computed and the backward pass recomputes probabilities.
#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <vector>

#include "worker/device/tensors.h"
#include "worker/kernels/aten/kernels.h"

namespace kiban::worker::aten {

using at::Tensor;

namespace {

constexpr std::int64_t kTileFloats = std::int64_t{16} << 20;  // of scores at once, over all heads
constexpr std::int64_t kLeastQueries = 16;                    // of a tile

struct Tile {
    std::int64_t first = 0, rows = 0;
    std::int64_t end() const { return first + rows; }
};

// Packed rows seen by heads; a group of G = heads / kv_heads query heads shares its key and value head.
class Packed {
  public:
    Packed(const AttentionShape& shape, const float* qkv) : shape_(shape) {
        const Tensor heads = view(qkv, {shape.batch, shape.tokens, shape.heads + 2 * shape.kv_heads, shape.head_size});
        queries_ = by_group(heads.narrow(2, 0, shape.heads));
        if (shape.positions != nullptr) first_keys_ = first_keys();
        keys_ = heads.narrow(2, shape.heads, shape.kv_heads).transpose(1, 2);
        values_ = heads.narrow(2, shape.heads + shape.kv_heads, shape.kv_heads).transpose(1, 2);
    }

    /// [B, T, H, K] -> [B, kv heads, G, T, K], a view.
    Tensor by_group(const Tensor& heads) const {
        return heads.unflatten(2, {shape_.kv_heads, group()}).permute({0, 2, 3, 1, 4});
    }
    Tensor rows_by_group(const float* rows) const {
        return by_group(view(rows, {shape_.batch, shape_.tokens, shape_.heads, shape_.head_size}));
    }
    /// Queries of a tile of what by_group gives -> [B * kv heads, G * tile rows, K], a copy.
    Tensor tile_of(const Tensor& grouped, const Tile& tile) const {
        return grouped.narrow(3, tile.first, tile.rows).reshape({pairs(), group() * tile.rows, shape_.head_size});
    }
    /// The way back.
    Tensor grouped(const Tensor& tile_rows, const Tile& tile) const {
        return tile_rows.reshape({shape_.batch, shape_.kv_heads, group(), tile.rows, shape_.head_size});
    }

    std::int64_t group() const { return shape_.heads / shape_.kv_heads; }
    std::int64_t pairs() const { return shape_.batch * shape_.kv_heads; }
    float scale() const { return 1.0F / std::sqrt(static_cast<float>(shape_.head_size)); }

    const Tensor& queries() const { return queries_; }                           // grouped
    Tensor keys() const { return keys_.reshape({pairs(), shape_.tokens, -1}); }  // [B * kv heads, T, K]
    Tensor values() const { return values_.reshape({pairs(), shape_.tokens, -1}); }
    const Tensor& key_place() const { return keys_; }  // [B, kv heads, T, K]
    const Tensor& value_place() const { return values_; }

    Tensor scores(const Tensor& tile_queries, const Tensor& keys, const Tile& tile) const {
        Tensor scores = at::bmm(tile_queries, keys.narrow(1, 0, tile.end()).transpose(1, 2)).mul_(scale());
        const Tensor ahead = at::ones({tile.rows, tile.rows}, scores.options().dtype(at::kBool)).triu_(1);
        scores.view({pairs() * group(), tile.rows, tile.end()})
            .narrow(2, tile.first, tile.rows)
            .masked_fill_(ahead, -std::numeric_limits<float>::infinity());
        if (first_keys_.defined()) {  // [B, 1, tile rows, keys]: those of documents before the query's
            const Tensor before = at::arange(tile.end(), first_keys_.options()) <
                                  first_keys_.narrow(1, tile.first, tile.rows).unsqueeze(2);
            scores.view({shape_.batch, shape_.heads, tile.rows, tile.end()})
                .masked_fill_(before.unsqueeze(1), -std::numeric_limits<float>::infinity());
        }
        return scores;
    }

    template <typename Work>
    void for_each_tile(const Work& work) const {
        const std::int64_t queries = kTileFloats / (shape_.batch * shape_.heads * shape_.tokens);
        const std::int64_t rows = std::max(kLeastQueries, queries);
        for (std::int64_t first = 0; first < shape_.tokens; first += rows)
            work(Tile{first, std::min(rows, shape_.tokens - first)});
    }

  private:
    /// [B, T], on the device: of each query, where its document begins in the row.
    Tensor first_keys() const {
        std::vector<std::int64_t> firsts(static_cast<std::size_t>(shape_.batch * shape_.tokens));
        for (std::size_t i = 0; i < firsts.size(); ++i)
            firsts[i] = static_cast<std::int64_t>(i) % shape_.tokens - shape_.positions[i];
        return on_device(firsts).view({shape_.batch, shape_.tokens});
    }

    AttentionShape shape_;
    Tensor queries_, keys_, values_;
    Tensor first_keys_;  // undefined: a row is one document
};

}  // namespace

void attention_forward(const AttentionShape& shape, const float* qkv, float* out, float* logsumexp) {
    const Packed packed(shape, qkv);
    const Tensor keys = packed.keys();
    const Tensor values = packed.values();
    const Tensor out_place = packed.rows_by_group(out);
    const Tensor sums_place = view(logsumexp, {packed.pairs(), packed.group(), shape.tokens});
    packed.for_each_tile([&](const Tile& tile) {
        Tensor scores = packed.scores(packed.tile_of(packed.queries(), tile), keys, tile);
        const Tensor most = scores.amax(2, /*keepdim=*/true);
        scores.sub_(most).exp_();
        const Tensor sum = scores.sum(2, /*keepdim=*/true);
        scores.div_(sum);
        const Tensor result = at::bmm(scores, values.narrow(1, 0, tile.end()));
        out_place.narrow(3, tile.first, tile.rows).copy_(packed.grouped(result, tile));
        sums_place.narrow(2, tile.first, tile.rows)
            .copy_(sum.log().add_(most).view({packed.pairs(), packed.group(), tile.rows}));
    });
}

void attention_backward(const AttentionShape& shape, const float* qkv, const float* out, const float* logsumexp,
                        const float* dout, float* dqkv) {
    const Packed packed(shape, qkv);
    const Packed gradient(shape, dqkv);
    const Tensor keys = packed.keys();
    const Tensor values = packed.values();
    const Tensor out_rows = packed.rows_by_group(out);
    const Tensor dout_rows = packed.rows_by_group(dout);
    const Tensor sums = view(logsumexp, {packed.pairs(), packed.group(), shape.tokens});
    const Tensor dkeys = at::zeros_like(keys);
    const Tensor dvalues = at::zeros_like(values);
    packed.for_each_tile([&](const Tile& tile) {
        const Tensor q = packed.tile_of(packed.queries(), tile);
        const Tensor d = packed.tile_of(dout_rows, tile);
        const Tensor p = packed.scores(q, keys, tile);
        p.sub_(sums.narrow(2, tile.first, tile.rows).reshape({packed.pairs(), -1, 1})).exp_();
        const Tensor delta = (d * packed.tile_of(out_rows, tile)).sum(2, /*keepdim=*/true);
        const Tensor dscores = at::bmm(d, values.narrow(1, 0, tile.end()).transpose(1, 2)).sub_(delta).mul_(p);
        dscores.mul_(packed.scale());
        dvalues.narrow(1, 0, tile.end()).add_(at::bmm(p.transpose(1, 2), d));
        dkeys.narrow(1, 0, tile.end()).add_(at::bmm(dscores.transpose(1, 2), q));
        const Tensor dq = at::bmm(dscores, keys.narrow(1, 0, tile.end()));
        gradient.queries().narrow(3, tile.first, tile.rows).copy_(packed.grouped(dq, tile));
    });
    gradient.key_place().copy_(dkeys.view_as(gradient.key_place()));
    gradient.value_place().copy_(dvalues.view_as(gradient.value_place()));
}

}  // namespace kiban::worker::aten
