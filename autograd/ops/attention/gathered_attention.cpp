// Attention by a pattern as a composition: blocks of queries beside copies of the keys that they see, so that second
// derivatives, too, take time and memory for what is seen alone.
#include <algorithm>
#include <map>
#include <vector>

#include "autograd/ops/attention/internal/fused_attention.h"
#include "autograd/ops/create.h"
#include "autograd/ops/gather.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/movement.h"

namespace attune::detail {

namespace {

using kernels::KeyRun;
using kernels::KeyTile;
using kernels::KeyTiles;
using kernels::pieces;
using kernels::Size;
using kernels::tile_queries;

/// The sizes of a call, heads of all examples counted together.
struct Sizes {
  Size batch, heads, key_heads, queries, keys, blocks;

  Sizes(const Tensor& q, const Tensor& k)
      : batch(q.rank() > 3 ? q.size(-4) : 1),
        heads(q.rank() > 2 ? q.size(-3) : 1),
        key_heads(k.rank() > 2 ? k.size(-3) : 1),
        queries(q.size(-2)),
        keys(k.size(-2)),
        blocks(pieces(queries, tile_queries)) {}
  Size units() const { return batch * heads * blocks; }
};

/// A block of queries of one head.
struct Unit {
  Size b, h, first, count;

  Unit(const Sizes& n, Size i)
      : b(i / n.blocks / n.heads),
        h(i / n.blocks % n.heads),
        first(i % n.blocks * tile_queries),
        count(std::min(tile_queries, n.queries - first)) {}

  KeyTiles tiles(const Sizes& n, const AttentionSettings& o) const {
    return kernels::tiles_of(o, n.queries, n.keys, b, h, first, count, 0, n.keys);
  }
};

/// A number of keys rounded up to 2^i or 3 2^i: units of like sizes are computed together, with places that stay empty.
Size places_for(Size keys) {
  Size most = kernels::key_granule;
  while (most < keys) most *= 2;
  return most / 4 * 3 >= keys ? most / 4 * 3 : most;
}

/// What units with as many places for keys each take: rows of all heads' keys, and which pairs are hidden.
struct Gathered {
  Tensor rows;    ///< [units places] int64
  Tensor hidden;  ///< [units, tile_queries, places] bool
};

Gathered gather(const Sizes& n, const std::vector<std::int64_t>& units, Size places, const Tensor& mask,
                const AttentionSettings& o) {
  const auto count = static_cast<Size>(units.size());
  Gathered g{empty({count * places}, DType::int64), ones({count, tile_queries, places}, DType::boolean)};
  const Strides strides = mask.defined() ? mask.strides() : Strides();
  const auto* masked = elements<const bool>(mask);
  for (Size u = 0; u < count; ++u) {
    const Unit x(n, units[static_cast<std::size_t>(u)]);
    const Size head = (x.b * n.key_heads + x.h / (n.heads / n.key_heads)) * n.keys;
    auto* row = elements<std::int64_t>(g.rows) + u * places;
    auto* hidden = elements<bool>(g.hidden) + u * tile_queries * places;
    KeyTiles tiles = x.tiles(n, o);
    KeyTile tile;
    Size at = 0;
    for (; tiles.next(tile); at += tile.keys)
      for (const KeyRun& run : tile)
        for (Size r = 0; r < run.keys; ++r) {
          const Size key = run.key + r, place = at + run.at + r;
          row[place] = head + key;
          for (Size i = 0; i < x.count; ++i) {
            const bool unseen = run.partial && ((tile.seen[run.at + r] >> i) & 1) == 0;
            const bool future = o.causal && key > x.first + i + n.keys - n.queries;
            hidden[i * places + place] =
                unseen || future ||
                (masked && masked[x.b * strides[0] + x.h * strides[1] + (x.first + i) * strides[2] + key * strides[3]]);
          }
        }
    // With a key that is seen: nothing that should not be looked at.
    if (at > 0) std::fill(row + at, row + places, row[at - 1]);
  }
  return g;
}

/// x [.., n, d] as [batch heads, n, d].
Tensor by_head(const Tensor& x) { return reshape(x, {-1, x.size(-2), x.size(-1)}); }

}  // namespace

Tensor gathered_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                          const AttentionSettings& o) {
  const Sizes n(q, k);
  const Size d = q.size(-1), e = v.size(-1);
  const Tensor mask =
      attention_mask.defined() ? expand(attention_mask.detach(), {n.batch, n.heads, n.queries, n.keys}) : Tensor();
  std::map<Size, std::vector<std::int64_t>> groups;  // by places; without any, the output is a zero of all inputs
  for (Size i = 0; i < n.units(); ++i) {
    KeyTiles tiles = Unit(n, i).tiles(n, o);
    KeyTile tile;
    Size keys = 0;
    while (tiles.next(tile)) keys += tile.keys;
    groups[keys == 0 ? 0 : places_for(keys)].push_back(i);
  }
  // Numbers that are taken: scores of all places, and copies of their keys and values.
  double taken = 0;
  for (const auto& [places, units] : groups)
    taken += static_cast<double>(units.size()) * static_cast<double>(places * (tile_queries + d + e));
  if (taken > static_cast<double>(n.units()) * static_cast<double>(tile_queries * n.keys))
    return dense_attention(q, k, v, attention_mask, {}, o);
  const Tensor queries = reshape(pad(by_head(q), 1, 0, n.blocks * tile_queries - n.queries), {-1, tile_queries, d});
  const Tensor keys = reshape(k, {-1, d}), values = reshape(v, {-1, e});
  AttentionSettings plain = o;
  plain.causal = false, plain.pattern = nullptr;
  Tensors outputs;
  std::vector<std::int64_t> place(static_cast<std::size_t>(n.units()));
  std::int64_t done = 0;
  for (const auto& [places, units] : groups) {
    const auto count = static_cast<std::int64_t>(units.size());
    for (const std::int64_t unit : units) place[static_cast<std::size_t>(unit)] = done++;
    const Gathered g = gather(n, units, places, mask, o);
    const Tensor own = index_select(queries, 0, tensor(units, {count}, DType::int64));
    const Tensor weights =
        attention_weights(own, reshape(index_select(keys, 0, g.rows), {count, places, d}), g.hidden, {}, plain);
    outputs.push_back(attention_output(weights, reshape(index_select(values, 0, g.rows), {count, places, e}), plain));
  }
  const Tensor ordered = index_select(cat(outputs), 0, tensor(place, {n.units()}, DType::int64));
  Shape shape = q.shape();
  shape[q.rank() - 1] = e;
  return reshape(slice(reshape(ordered, {-1, n.blocks * tile_queries, e}), 1, 0, n.queries), shape);
}

}  // namespace attune::detail
