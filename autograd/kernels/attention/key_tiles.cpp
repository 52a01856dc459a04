#include "autograd/kernels/attention/key_tiles.h"

#include <algorithm>

namespace attune::kernels {

bool KeyTiles::next(KeyTile& tile) {
  if (pattern_ == nullptr) {
    tile.key = at_;
    tile.keys = std::min(tile_keys, end_ - at_);
    tile.partial = false;
    at_ += tile_keys;
    return tile.keys > 0;
  }
  while (skip_unseen())
    if (take(tile)) return true;
  return false;
}

/// To the next granule that may be seen, in steps that double and then halve; false at the end.
bool KeyTiles::skip_unseen() {
  bool growing = true;
  for (Size step = key_granule; at_ < end_;) {
    const Size to = std::min(at_ + step, end_);
    if (seen(at_, to) == Seen::none) {
      at_ = to;
      if (growing) step *= 2;
    } else if (step > key_granule) {
      growing = false;
      step /= 2;
    } else {
      return true;
    }
  }
  return false;
}

/// Granules in a row that are seen; false if the first one, looked at closely, is not.
bool KeyTiles::take(KeyTile& tile) {
  tile.key = at_;
  tile.keys = std::min(tile_keys, end_ - at_);
  tile.partial = false;
  if (seen(at_, at_ + tile.keys) == Seen::all) {
    at_ += tile.keys;
    return true;
  }
  tile.keys = 0;
  while (at_ < end_ && tile.keys + key_granule <= tile_keys) {
    const Size keys = std::min(key_granule, end_ - at_);
    const Seen s = take_granule(tile, keys);
    at_ += keys;
    if (s == Seen::none) break;
    tile.partial |= s == Seen::some;
    tile.keys += keys;
  }
  return tile.keys > 0;
}

/// Of the `keys` keys that would come next in the tile, exactly.
Seen KeyTiles::take_granule(KeyTile& tile, Size keys) const {
  std::uint64_t* bits = tile.seen + tile.keys;
  const Seen quick = seen(at_, at_ + keys);
  if (quick == Seen::none) return quick;
  if (quick == Seen::all) {
    std::fill_n(bits, keys, ~std::uint64_t{0});
    return quick;
  }
  pattern_->look(b_, h_, queries_, {at_, at_ + keys}, bits);
  const std::uint64_t count = ~std::uint64_t{0} >> (64 - queries_.size());
  std::uint64_t any = 0, all = count;
  for (Size r = 0; r < keys; ++r) {
    any |= bits[r] & count;
    all &= bits[r];
  }
  return any == 0 ? Seen::none : all == count ? Seen::all : Seen::some;
}

}  // namespace attune::kernels
