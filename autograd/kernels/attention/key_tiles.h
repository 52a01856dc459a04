// The tiles of scores that some queries need: which keys they meet, a run of keys at a time.
#pragma once

#include <cstdint>

#include "autograd/kernels/attention/attention_tile.h"
#include "autograd/kernels/attention/pattern.h"

namespace attune::kernels {

/// What a pattern shows or hides at once: a tile begins and ends at whole ones.
inline constexpr Size key_granule = 16;

struct KeyTile {
  Size key = 0, keys = 0;         ///< keys [key, key + keys)
  bool partial = false;           ///< some pairs are hidden:
  std::uint64_t seen[tile_keys];  ///< by key, bit i: query i sees it
};

/// Up to 64 queries of one head with keys [begin, end), `begin` a multiple of key_granule. Keys that none of them sees
/// are in no tile, so that the cost follows what is seen.
class KeyTiles {
 public:
  /// `queries` are positions, as patterns take them; without a pattern all keys are seen.
  KeyTiles(const Pattern* pattern, Size b, Size h, Span queries, Span keys)
      : pattern_(pattern), b_(b), h_(h), queries_(queries), at_(keys.begin), end_(keys.end) {}
  /// The next tile; false if there is none.
  bool next(KeyTile& tile);

 private:
  Seen seen(Size begin, Size end) const { return pattern_->seen(b_, h_, queries_, {begin, end}); }
  bool skip_unseen();
  bool take(KeyTile& tile);
  Seen take_granule(KeyTile& tile, Size keys) const;

  const Pattern* pattern_;
  Size b_, h_;
  Span queries_;
  Size at_, end_;
};

}  // namespace attune::kernels
