// The size of a tile of scores; see attention_tile-inl.h.
#pragma once

#include "autograd/kernels/size.h"

namespace attune::kernels {

/// Columns of a tile, a query each, and its row stride: whole vectors of every instruction set.
inline constexpr Size tile_queries = 64;
/// Its rows at the most, a key each: a multiple of the 6 rows of a product's block, of the 4 numbers of a Philox block,
/// and of the 16 keys that patterns show or hide at once.
inline constexpr Size tile_keys = 96;

}  // namespace attune::kernels
