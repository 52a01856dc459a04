#include "autograd/kernels/attention/key_tiles.h"

#include <algorithm>

namespace attune::kernels {

namespace {

/// A run at the end of the tile, or a longer last one.
void append(KeyTile& tile, const KeyRun& run) {
  KeyRun* last = tile.count > 0 ? tile.runs + tile.count - 1 : nullptr;
  if (last && last->key + last->keys == run.key && last->partial == run.partial)
    last->keys += run.keys;
  else
    tile.runs[tile.count++] = run;
  tile.keys += run.keys;
}

}  // namespace

bool KeyTiles::next(KeyTile& tile) {
  tile.keys = 0;
  tile.count = 0;
  if (pattern_ == nullptr) {
    const Size keys = std::min(tile_keys, end_ - at_);
    if (keys > 0) append(tile, {at_, keys, 0});
    at_ += keys;
  } else {
    while (tile.keys + key_granule <= tile_keys && skip_unseen()) take(tile);
  }
  return tile.keys > 0;
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

/// The granules that come next, as far as they are seen and have room.
void KeyTiles::take(KeyTile& tile) {
  const Size room = std::min(tile_keys - tile.keys, end_ - at_);
  if (seen(at_, at_ + room) == Seen::all) {
    append(tile, {at_, room, tile.keys});
    at_ += room;
    return;
  }
  while (at_ < end_ && tile.keys + key_granule <= tile_keys) {
    const Size keys = std::min(key_granule, end_ - at_);
    const Seen s = take_granule(tile, keys);
    if (s != Seen::none) append(tile, {at_, keys, tile.keys, s == Seen::some});
    at_ += keys;
    if (s == Seen::none) return;
  }
}

/// Of the `keys` keys that would come next in the tile, exactly.
Seen KeyTiles::take_granule(KeyTile& tile, Size keys) const {
  std::uint64_t* bits = tile.seen + tile.keys;
  const Seen quick = seen(at_, at_ + keys);
  if (quick != Seen::some) return quick;
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
