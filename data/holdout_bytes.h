// SPDX-License-Identifier: Apache-2.0
// How much text a token of the holdout stands for: turns a loss in nats per token into bits per byte, which models with
// different tokenizers can be compared by.
#pragma once

#include "data/manifest.h"

namespace kiban::data {

/// Bytes of text for each of the holdout's tokens that a model is asked to predict, ends of documents (no bytes) among
/// them: bits per byte = nats per token / ln 2 / this. Of the first million tokens where there are more. 0 when nothing
/// is held out. DataError as of Corpus.
double holdout_bytes_per_token(const Manifest& manifest);

}  // namespace kiban::data
