// The tiles of scores that some queries need: which keys they meet, wherever these lie.
#pragma once

#include <cstdint>

#include "autograd/kernels/attention/attention_tile.h"
#include "autograd/kernels/attention/pattern.h"

namespace attune::kernels {

/// What a pattern shows or hides at once: runs of keys begin and end at whole ones, or at the last key.
inline constexpr Size key_granule = 16;
static_assert(tile_keys % key_granule == 0);

/// Keys [key, key + keys), rows [at, at + keys) of a tile.
struct KeyRun {
  Size key = 0, keys = 0, at = 0;
  bool partial = false;  ///< some of its pairs are hidden
};

/// Keys in ascending order.
struct KeyTile {
  Size keys = 0;
  int count = 0;
  KeyRun runs[tile_keys / key_granule];
  std::uint64_t seen[tile_keys];  ///< by row of a partial run, bit i: query i sees the key

  const KeyRun* begin() const { return runs; }
  const KeyRun* end() const { return runs + count; }
  /// Whether its keys follow each other: runs end where pairs begin or cease to be hidden, too.
  bool in_one_piece() const { return runs[0].key + keys == runs[count - 1].key + runs[count - 1].keys; }
};

/// Up to 64 queries of one head with keys [begin, end), `begin` a multiple of key_granule. Keys that none of them sees
/// are in no tile, so that the cost follows what is seen; those that are seen fill tiles wherever they lie, so that
/// what a tile costs beside its products does not grow as runs get shorter.
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
  void take(KeyTile& tile);
  Seen take_granule(KeyTile& tile, Size keys) const;

  const Pattern* pattern_;
  Size b_, h_;
  Span queries_;
  Size at_, end_;
};

}  // namespace attune::kernels
