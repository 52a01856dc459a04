// Windows of a token stream, for language models.
#pragma once

#include "nn/data/batches.h"
#include "nn/data/tokens.h"

namespace attune::nn {

struct WindowOptions {
  std::int64_t length = 0;  ///< tokens that the model reads
  std::int64_t batch = 1;   ///< windows in a batch
  /// One after another without overlap, for evaluation: an epoch has each once, its last batch may be smaller, and a
  /// tail shorter than a window is left out. Otherwise each window begins anywhere, as its place and the seed say.
  bool sequential = false;
  std::uint64_t seed = 0;
  bool prefetch = true;
};

struct WindowBatch {
  Tensor inputs;   ///< [b, length] int64
  Tensor targets;  ///< [b, length]: the token after each
};

/// Batches of windows. An epoch of random ones is as many batches as the stream has tokens for. Throws ValueError for a
/// stream that is empty or shorter than length + 1 tokens, and options below 1.
///
///     auto [train, validation] = nn::split(tokens, 0.9);
///     auto batches = nn::token_windows(train, {.length = 64, .batch = 12, .seed = 1});
///     auto [x, y] = batches.next();
///     Tensor loss = cross_entropy(model(x), y);
Batches<WindowBatch> token_windows(const Tokens& tokens, const WindowOptions& options, Here here = Here::current());

}  // namespace attune::nn
