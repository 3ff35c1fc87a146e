// SPDX-License-Identifier: Apache-2.0
// How the rows of an embedding table lie to each other: whether it uses its dimensions, or has collapsed into a few.
#pragma once

#include <cstdint>
#include <vector>

namespace kiban::worker {

struct EmbeddingGeometry {
    /// e^H of the singular values divided by their sum (Roy and Vetterli 2007): 1 to min(rows, D).
    double effective_rank = 0;
    /// min Z(c) / max Z(c) over the right singular vectors c and their opposites, Z(c) being the sum of e^(c.row) (Mu
    /// and Viswanath 2018, section 2.1): 1 where no direction is preferred.
    double isotropy_ratio = 0;
    /// log of the mean of e^(-2 |u - v|^2) over pairs of rows of unit length (Wang and Isola 2020, t = 2): 0 where all
    /// are the same, about -4 where they are spread over all directions.
    double uniformity = 0;
};

/// Rows of a table that are looked at: so many, evenly spaced; all where there are fewer.
inline constexpr std::int64_t kSampledEmbeddings = 512;

/// The numbers of the sampled rows of a table of `rows`, ascending.
std::vector<std::int64_t> sampled_embeddings(std::int64_t rows);

/// Of x [rows, width], on the host. In double; takes rows^2 * width and min(rows, width)^3 operations. NaN where no row
/// is other than zero, or an element is not finite.
EmbeddingGeometry embedding_geometry(std::int64_t rows, std::int64_t width, const float* x);

}  // namespace kiban::worker
