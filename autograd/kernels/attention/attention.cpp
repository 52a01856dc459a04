#include "autograd/kernels/attention/attention.h"

#include <algorithm>
#include <vector>

#include "autograd/kernels/attention/few_queries.h"
#include "autograd/kernels/attention/packed_rows.h"
#include "autograd/kernels/buffer.h"
#include "autograd/kernels/flush_subnormals.h"
#include "autograd/kernels/simd_targets.h"
#include "autograd/runtime/parallel.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "autograd/kernels/attention/attention.cpp"
#include "hwy/foreach_target.h"
// After foreach_target.h:
#include "autograd/kernels/attention/backward_tile-inl.h"
#include "autograd/kernels/attention/query_tile-inl.h"

#ifndef ATTUNE_KERNELS_ATTENTION_ONCE_
#define ATTUNE_KERNELS_ATTENTION_ONCE_
namespace attune::kernels {

/// What runs on one thread: some queries of one head, or some keys of one head with all queries that see them.
template <class T>
struct AttentionKernels {
  void (*forward)(const AttentionPlan<T>& p, Size b, Size h, Size first, Heads<T> out, AttentionSums<T> sums);
  void (*backward)(const AttentionPlan<T>& p, Size b, Size key_head, Size begin, Size end, Heads<const T> out,
                   AttentionSums<const T> sums, Heads<const T> dout, const AttentionGradients<T>& to);
};

}  // namespace attune::kernels
#endif

HWY_BEFORE_NAMESPACE();
namespace attune::kernels::HWY_NAMESPACE {

// ---- forward

/// o[i][j] of powers to outputs.
template <class T>
void finish_queries(const Queries<T>& x, const RunningSoftmax<T>& softmax, const T* o, Heads<T> out,
                    AttentionSums<T> sums) {
  const Size e = x.p.value_dim;
  for (Size i = 0; i < x.count; ++i) {
    T* y = out.row(x.b, x.h, x.first + i);
    const bool nothing = softmax.total[i] == 0;
    const T inverse = nothing ? T{0} : static_cast<T>(1 / softmax.total[i]);
    for (Size j = 0; j < e; ++j) y[j] = nothing ? T{0} : o[i * e + j] * inverse;
    sums.largest[x.row() + i] = softmax.shift[i];
    sums.inverse[x.row() + i] = inverse;
  }
}

/// False if an output is not finite.
template <class T>
bool attend(const Queries<T>& x, bool careful, Heads<T> out, AttentionSums<T> sums) {
  const AttentionPlan<T>& p = x.p;
  const Size d = p.head_dim, e = p.value_dim, tile = tile_keys * tile_queries;
  const bool drops = p.settings.dropout > 0;
  const Size gathered = p.settings.pattern ? tile_keys : 0;
  Workspace<T> w{d * tile_queries, tile, tile_queries * e, drops ? tile : 0, gathered * d, gathered * e};
  T *q_columns = w.take(d * tile_queries), *s = w.take(tile), *o = w.take(tile_queries * e);
  T* factor = drops ? w.take(tile) : nullptr;
  T *k_space = w.take(gathered * d), *v_space = w.take(gathered * e);
  transpose_rows([&](Size i) { return p.q.row(x.b, x.h, x.first + i); }, x.count, d, x.score_unit(), q_columns);
  RunningSoftmax<T> softmax;
  KeyTiles tiles = x.tiles(0, p.keys);
  KeyTile at;
  bool first = true;
  for (; tiles.next(at); first = false) {
    scores_of(x, q_columns, at, gather_rows(p.k, x.b, x.key_head, at, d, k_space), s);
    softmax.take(s, at.keys, x.width());
    for (Size i = 0; i < x.count; ++i) {
      const T fade = softmax.fade[i];
      if (first || fade == T{1}) continue;
      for (Size j = 0; j < e; ++j) o[i * e + j] = careful && fade == 0 ? T{0} : o[i * e + j] * fade;
    }
    if (factor) {
      draw_factors(x, at, factor);
      for (Size i = 0; i < at.keys * tile_queries; ++i) s[i] *= factor[i];
    }
    const TileRows<T> v = gather_rows(p.v, x.b, x.key_head, at, e, v_space);
    product_of_tile(careful, Left::columns, x.count, e, at.keys, s, v.data, v.stride, o, e, !first);
  }
  finish_queries(x, softmax, o, out, sums);
  return first || all_finite(o, x.count * e);
}

template <class T>
void forward_queries(const AttentionPlan<T>& p, Size b, Size h, Size first, Heads<T> out, AttentionSums<T> sums) {
  const Queries<T> x(p, b, h, first);
  if (!attend(x, false, out, sums)) attend(x, true, out, sums);
}

// ---- backward

/// What one block of queries adds to the gradients of the keys from the tile `at` on, and its own gradient; false if
/// that is not finite.
template <class T>
bool backward_queries(BackwardTile<T>& w, const Queries<T>& x, KeyTiles& tiles, KeyTile& at, bool careful,
                      const AttentionGradients<T>& to) {
  const AttentionPlan<T>& p = x.p;
  const Size d = p.head_dim, e = p.value_dim;
  const T scale = static_cast<T>(p.settings.scale);
  bool first = true;
  do {
    w.take_keys(x, at);
    if (to.dbias)
      for (const KeyRun& run : at)
        for (Size i = 0; i < x.count; ++i)
          for (Size r = 0; r < run.keys; ++r)
            to.dbias[(x.row() + i) * p.keys + run.key + r] = w.g[(run.at + r) * tile_queries + i];
    w.add_to_keys(x, at, w.s, w.dy, e, to.dv);
    w.add_to_keys(x, at, w.g, w.q, d, to.dk);
    product_of_tile(careful, Left::columns, x.count, d, at.keys, w.g, w.k.data, w.k.stride, w.gq, d, !first);
    first = false;
  } while (tiles.next(at));
  for (Size i = 0; i < x.count; ++i) {
    T* y = to.dq.row(x.b, x.h, x.first + i);
    for (Size j = 0; j < d; ++j) y[j] = w.gq[i * d + j] * scale;
  }
  return all_finite(w.gq, x.count * d);
}

/// Whether a query's cotangent is not 0: where losses leave positions out, whole blocks have none.
template <class T>
bool asked(const Queries<T>& x, Heads<const T> dout) {
  for (Size i = 0; i < x.count; ++i)
    if (!all_zero(dout.row(x.b, x.h, x.first + i), x.p.value_dim)) return true;
  return false;
}

/// Keys [begin, end) of a head with the queries of all heads that share it. False, at once unless `careful`, if a
/// gradient is not finite.
template <class T>
bool differentiate(const AttentionPlan<T>& p, Size b, Size key_head, Size begin, Size end, bool careful,
                   Heads<const T> out, AttentionSums<const T> sums, Heads<const T> dout,
                   const AttentionGradients<T>& to) {
  const Size d = p.head_dim, e = p.value_dim;
  for (Size j = begin; j < end; ++j) {
    std::fill_n(to.dk.row(b, key_head, j), d, T{0});
    std::fill_n(to.dv.row(b, key_head, j), e, T{0});
  }
  BackwardTile<T> w(p, careful);
  KeyTile at;
  bool finite = true;
  for (Size h = key_head * p.sharing; h < (key_head + 1) * p.sharing; ++h)
    for (Size first = 0; first < p.queries; first += tile_queries) {
      const Queries<T> x(p, b, h, first);
      KeyTiles tiles = x.tiles(begin, end);
      const bool sees = tiles.next(at);
      if (!sees || !asked(x, dout)) {
        // The sum over groups reads dq of the first one, and of those of which the queries see a key.
        for (Size i = 0; i < x.count && (sees || begin == 0); ++i) std::fill_n(to.dq.row(b, h, first + i), d, T{0});
        continue;
      }
      w.take_queries(x, out, sums, dout);
      finite &= backward_queries(w, x, tiles, at, careful, to);
      if (!finite && !careful) return false;
    }
  for (Size j = begin; j < end; ++j)
    finite &= all_finite(to.dk.row(b, key_head, j), d) && all_finite(to.dv.row(b, key_head, j), e);
  return finite;
}

template <class T>
void backward_keys(const AttentionPlan<T>& p, Size b, Size key_head, Size begin, Size end, Heads<const T> out,
                   AttentionSums<const T> sums, Heads<const T> dout, const AttentionGradients<T>& to) {
  if (!differentiate(p, b, key_head, begin, end, false, out, sums, dout, to))
    differentiate(p, b, key_head, begin, end, true, out, sums, dout, to);
}

template <class T>
inline constexpr AttentionKernels<T> attention_kernels = {forward_queries<T>, backward_keys<T>};

const AttentionKernels<float>& attention_f32() { return attention_kernels<float>; }
const AttentionKernels<double>& attention_f64() { return attention_kernels<double>; }

}  // namespace attune::kernels::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace attune::kernels {

HWY_EXPORT(attention_f32);
HWY_EXPORT(attention_f64);

namespace {

template <class T>
const AttentionKernels<T>& kernels() {
  if constexpr (sizeof(T) == 4)
    return HWY_DYNAMIC_DISPATCH(attention_f32)();
  else
    return HWY_DYNAMIC_DISPATCH(attention_f64)();
}

constexpr double worth_sharing = 1 << 20;  // multiplications
constexpr Size least_tasks = 8;

/// Multiplications of `queries` queries of one head with all keys.
template <class T>
double work_of(const AttentionPlan<T>& p, Size queries) {
  return static_cast<double>(queries) * static_cast<double>(p.keys) * static_cast<double>(p.head_dim + p.value_dim);
}

/// In how many groups a head's keys are computed: each needs its own dq.
template <class T>
Size groups_of(const AttentionPlan<T>& p) {
  const Size heads = p.batch * (p.heads / p.sharing);
  if (heads >= least_tasks || work_of(p, p.queries * p.sharing) < 4 * worth_sharing) return 1;
  return std::clamp(pieces(least_tasks, std::max<Size>(heads, 1)), Size{1}, pieces(p.keys, tile_keys));
}

/// The queries of a head that are not `finite`, by the tile; the others stay as they are, to the bit.
template <class T>
void recompute(const AttentionPlan<T>& p, Size head, const std::vector<bool>& finite, Heads<T> out,
               AttentionSums<T> sums) {
  const Size first = head * p.queries, b = head / p.heads, h = head % p.heads, e = p.value_dim;
  const auto begin = finite.begin() + first;
  if (std::find(begin, begin + p.queries, false) == begin + p.queries) return;
  std::vector<T> kept, kept_sums;
  for (Size i = 0; i < p.queries; ++i) {
    kept.insert(kept.end(), out.row(b, h, i), out.row(b, h, i) + e);
    kept_sums.insert(kept_sums.end(), {sums.largest[first + i], sums.inverse[first + i]});
  }
  kernels<T>().forward(p, b, h, 0, out, sums);
  for (Size i = 0; i < p.queries; ++i) {
    if (!begin[i]) continue;
    std::copy_n(kept.begin() + i * e, e, out.row(b, h, i));
    sums.largest[first + i] = kept_sums[static_cast<std::size_t>(2 * i)];
    sums.inverse[first + i] = kept_sums[static_cast<std::size_t>(2 * i + 1)];
  }
}

/// The queries in blocks, in parallel.
template <class T>
void attend_blocks(const AttentionPlan<T>& p, Heads<T> out, AttentionSums<T> sums) {
  const Size blocks = pieces(p.queries, tile_queries);
  const double work = work_of(p, tile_queries);
  const Size grain = work >= worth_sharing ? 1 : static_cast<Size>(worth_sharing / std::max(work, 1.0));
  parallel_for(p.batch * p.heads * blocks, grain, [&](Size begin, Size end) {
    const FlushSubnormals flush;
    for (Size task = begin; task < end; ++task) {
      const Size head = task / blocks, block = blocks - 1 - task % blocks;  // causal: those who see most come first
      kernels<T>().forward(p, head / p.heads, head % p.heads, block * tile_queries, out, sums);
    }
  });
}

/// Keys of a head with the queries of all heads that share it.
template <class T>
void differentiate_keys(const AttentionPlan<T>& p, Size b, Size h, Span keys, Heads<const T> out,
                        AttentionSums<const T> sums, Heads<const T> dout, const AttentionGradients<T>& to) {
  if (!worth_packing(p)) return kernels<T>().backward(p, b, h, keys.begin, keys.end, out, sums, dout, to);
  const PackedRows<T> k(keys, p.head_dim, p.k, b, h), v(keys, p.value_dim, p.v, b, h);
  const PackedRows<T> dk(keys, p.head_dim), dv(keys, p.value_dim);
  AttentionPlan<T> packed = p;
  packed.k = k.get(), packed.v = v.get();
  kernels<T>().backward(packed, b, h, keys.begin, keys.end, out, sums, dout, {to.dq, dk.get(), dv.get(), to.dbias});
  dk.copy_to(to.dk, b, h);
  dv.copy_to(to.dv, b, h);
}

}  // namespace

template <class T>
void attention(const AttentionPlan<T>& p, Heads<T> out, AttentionSums<T> sums) {
  if (has_few_queries(p)) {
    const std::vector<bool> finite = attention_of_few(p, out, sums);
    for (Size head = 0; head < p.batch * p.heads; ++head) recompute(p, head, finite, out, sums);
    return;
  }
  if (!worth_packing(p)) return attend_blocks(p, out, sums);
  const Size key_heads = p.heads / p.sharing;
  const PackedHeads<T> k(p.k, p.batch, key_heads, p.keys, p.head_dim), v(p.v, p.batch, key_heads, p.keys, p.value_dim);
  AttentionPlan<T> packed = p;
  packed.k = k.get(), packed.v = v.get();
  attend_blocks(packed, out, sums);
}

template <class T>
void attention_grad(const AttentionPlan<T>& p, Heads<const T> out, AttentionSums<const T> sums, Heads<const T> dout,
                    const AttentionGradients<T>& to) {
  const Size heads = p.batch * p.heads, key_heads = p.heads / p.sharing, groups = groups_of(p);
  const Size tiles = pieces(p.keys, tile_keys);
  const Size dense = heads * p.queries * p.head_dim;
  const Buffer<T> partial((groups - 1) * dense);
  if (to.dbias) std::fill_n(to.dbias, heads * p.queries * p.keys, T{0});
  const auto dq_of = [&](Size group) {
    const Size row = p.head_dim, head = p.queries * row;
    return group == 0 ? to.dq : Heads<T>{partial.data() + (group - 1) * dense, p.heads * head, head, row};
  };
  const auto keys_of = [&](Size group) {
    return Span{group * tiles / groups * tile_keys, std::min((group + 1) * tiles / groups * tile_keys, p.keys)};
  };
  const double work = work_of(p, p.queries * p.sharing);
  const Size grain = work >= worth_sharing ? 1 : static_cast<Size>(worth_sharing / std::max(work, 1.0));
  parallel_for(groups * p.batch * key_heads, grain, [&](Size first, Size last) {
    const FlushSubnormals flush;
    for (Size task = first; task < last; ++task) {
      // Causal: the first keys are seen most. Those and the last in turns, so that threads have the same to do.
      const Size head = task / groups, turn = task % groups, group = turn % 2 == 0 ? turn / 2 : groups - 1 - turn / 2;
      differentiate_keys(p, head / key_heads, head % key_heads, keys_of(group), out, sums, dout,
                         {dq_of(group), to.dk, to.dv, to.dbias});
    }
  });
  if (groups == 1) return;
  const Size blocks = pieces(p.queries, tile_queries);
  parallel_for(heads * blocks, 1, [&](Size from, Size last) {
    for (Size task = from; task < last; ++task) {
      const Size b = task / blocks / p.heads, h = task / blocks % p.heads, first = task % blocks * tile_queries;
      const Size count = std::min(tile_queries, p.queries - first);
      for (Size group = 1; group < groups; ++group) {
        KeyTile any;
        if (!tiles_of(p, b, h, first, count, keys_of(group).begin, keys_of(group).end).next(any)) continue;
        for (Size i = first; i < first + count; ++i) {
          T* y = to.dq.row(b, h, i);
          const T* x = dq_of(group).row(b, h, i);
          for (Size j = 0; j < p.head_dim; ++j) y[j] += x[j];
        }
      }
    }
  });
}

#define ATTUNE_INSTANTIATE(T)                                                                                   \
  template void attention(const AttentionPlan<T>&, Heads<T>, AttentionSums<T>);                                 \
  template void attention_grad(const AttentionPlan<T>&, Heads<const T>, AttentionSums<const T>, Heads<const T>, \
                               const AttentionGradients<T>&);
ATTUNE_INSTANTIATE(float)
ATTUNE_INSTANTIATE(double)
#undef ATTUNE_INSTANTIATE

}  // namespace attune::kernels
#endif
