#include "autograd/ops/attention/internal/fused_attention.h"

#include <algorithm>
#include <array>
#include <limits>

#include "autograd/ops/attention/internal/attention_sums.h"
#include "autograd/ops/attention/internal/pattern_mask.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/second_derivative.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/internal/zero_product.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/random.h"
#include "autograd/ops/reduce.h"
#include "autograd/ops/softmax.h"

namespace attune::detail {

namespace {

using kernels::AttentionPlan;
using kernels::Heads;
using kernels::ScoreTerm;

template <class T>
Heads<T> heads_of(const Tensor& x) {
  return heads_at<T>(x, x.rank() - 4, x.rank() < 3 ? -1 : x.rank() - 3, x.rank() - 2);
}

Shape scores_shape(const Tensor& q, const Tensor& k) {
  Shape shape = q.shape();
  shape[q.rank() - 1] = k.size(-2);
  return shape;
}

/// Its strides in the scores' shape.
template <class T>
ScoreTerm<T> term_of(const Tensor& x, const Shape& scores) {
  if (!x.defined()) return {};
  const Strides s = broadcast_strides(x.shape(), x.strides(), scores);
  const int r = scores.rank();
  return {elements<const T>(x), r > 3 ? s[r - 4] : 0, r > 2 ? s[r - 3] : 0, s[r - 2], s[r - 1]};
}

template <class T>
AttentionPlan<T> plan_of(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                         const Tensor& bias, const AttentionSettings& o) {
  const Shape scores = scores_shape(q, k);
  return {.settings = o,
          .batch = q.rank() > 3 ? q.size(-4) : 1,
          .heads = q.rank() > 2 ? q.size(-3) : 1,
          .queries = q.size(-2),
          .keys = k.size(-2),
          .head_dim = q.size(-1),
          .value_dim = v.size(-1),
          .sharing = q.rank() > 2 && k.size(-3) != 0 ? std::max<std::int64_t>(q.size(-3) / k.size(-3), 1) : 1,
          .q = heads_of<const T>(q),
          .k = heads_of<const T>(k),
          .v = heads_of<const T>(v),
          .attention_mask = term_of<bool>(attention_mask, scores),
          .bias = term_of<T>(bias, scores)};
}

/// A fresh tensor [..., rows, columns] for x [..., rows, d]. Where the heads of x lie inside its rows, as a projection
/// makes them, so do those of the result: joining them again copies nothing.
Tensor laid_out_like(const Tensor& x, std::int64_t columns) {
  Shape shape = x.shape();
  shape[x.rank() - 1] = columns;
  if (x.rank() < 3 || x.strides()[x.rank() - 3] >= x.strides()[x.rank() - 2]) return empty(shape, x.dtype());
  const int head = x.rank() - 3, row = x.rank() - 2;
  Shape in_memory = shape;
  std::swap(in_memory[head], in_memory[row]);
  Strides strides = contiguous_strides(in_memory);
  std::swap(strides[head], strides[row]);
  return view_of(empty(in_memory, x.dtype()), shape, strides, 0);
}

/// dq, dk, dv, and the bias's gradient if it is wanted: the bias then has the scores' shape.
Tensors fused_attention_grad(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                             const Tensor& bias, const Tensor& dout, const Tensor& out, const Tensor& sums,
                             const AttentionSettings& o, bool wants_bias, Here here) {
  const Op op{"scaled_dot_product_attention_grad", here};
  const Tensor qd = with_dense_rows(q), kd = with_dense_rows(k), vd = with_dense_rows(v), gd = with_dense_rows(dout);
  // Without query heads there is no head of keys to compute.
  const auto for_keys = [none = q.rank() > 2 && q.size(-3) == 0](const Tensor& x) {
    return none ? zeros_like(x) : laid_out_like(x, x.size(-1));
  };
  const Tensor dq = laid_out_like(q, q.size(-1)), dk = for_keys(k), dv = for_keys(v);
  const Tensor dbias = wants_bias ? op.empty(scores_shape(q, k), q.dtype()) : Tensor();
  with_floating(q.dtype(), [&]<class T>(T) {
    kernels::attention_grad<T>(plan_of<T>(qd, kd, vd, attention_mask, bias, o), heads_of<const T>(out),
                               sums_of<const T>(sums), heads_of<const T>(gd),
                               {heads_of<T>(dq), heads_of<T>(dk), heads_of<T>(dv), elements<T>(dbias)});
  });
  const Tensor unasked = grad_enabled() ? unasked_rows(dout, {q, k, v}) : Tensor();
  return record_fused_grad(op, {dq, dk, dv, {}, dbias},
                           of<fused_attention_grad>(q, k, v, attention_mask, bias, dout, out, sums, o, wants_bias),
                           {q, k, v, attention_mask, bias}, {dout}, [o, unasked](const Tensors& xs) {
                             Tensor hidden = xs[3];
                             if (unasked.defined()) hidden = hidden.defined() ? logical_or(hidden, unasked) : unasked;
                             return Tensors{fused_attention_composed(xs[0], xs[1], xs[2], hidden, xs[4], o, {})};
                           });
}

/// The eight cases, spelled out at the first call; nodes keep the pointer.
const char* rule_for(bool masked, bool bias, bool dropout) {
  static const auto* const rules = [] {
    auto* all = new std::array<std::string, 8>;
    for (unsigned i = 0; i < 8; ++i) {
      const bool hides = i & 1u, adds = i & 2u, drops = i & 4u;
      (*all)[i] = std::string("dq = scale ds k, dk = scale ds^T q, dv = ") + (drops ? "(m p)^T dy, " : "p^T dy, ") +
                  (adds ? "dbias = ds, " : "") + "ds = p (" + (drops ? "m " : "") +
                  "dy v^T - row sums of y dy), p = softmax(scale q k^T" + (adds ? " + bias" : "") +
                  (hides ? " where not masked)" : ")") + (drops ? ", m = 1 / (1 - dropout) where kept" : "");
    }
    return all;
  }();
  return (*rules)[(masked ? 1u : 0u) + (bias ? 2u : 0u) + (dropout ? 4u : 0u)].c_str();
}

}  // namespace

Tensor fused_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                       const Tensor& bias, const AttentionSettings& o, Here here) {
  const Op op{"scaled_dot_product_attention", here};
  const Tensor qd = with_dense_rows(q), kd = with_dense_rows(k), vd = with_dense_rows(v);
  Tensor out = laid_out_like(q, v.size(-1));
  std::int64_t rows = 1;  // not from numel(): heads may have no elements
  for (int i = 0; i + 1 < q.rank(); ++i) rows *= q.shape()[i];
  Tensor sums = op.empty({2, rows}, q.dtype());
  with_floating(q.dtype(), [&]<class T>(T) {
    kernels::attention<T>(plan_of<T>(qd, kd, vd, attention_mask, bias, o), heads_of<T>(out), sums_of<T>(sums));
  });
  return op.record_joint(
      std::move(out), of<fused_attention, fused_attention_composed>(q, k, v, attention_mask, bias, o),
      rule_for(attention_mask.defined() || o.causal || o.pattern, bias.defined(), o.dropout != 0),
      [q = Saved(q), k = Saved(k), v = Saved(v), attention_mask = Saved(attention_mask), bias = Saved(bias), sums, o](
          const Tensors& dys, const Needs& needs, const Tensors& ys) {
        const bool wants_bias = needs[4];
        const Tensor term = wants_bias ? expand(bias, scores_shape(q, k)) : bias.get();
        return fused_attention_grad(q, k, v, attention_mask, term, dys[0], ys[0], sums, o, wants_bias, {});
      });
}

Tensor repeat_heads(const Tensor& x, std::int64_t heads) {
  const std::int64_t own = x.size(-3);
  if (own == heads || own <= 1) return x;
  Shape shape = x.shape();
  const int head = x.rank() - 3;
  shape.insert(head + 1, heads / own);
  return flatten(expand(unsqueeze(x, head + 1), shape), head, head + 1);
}

Tensor attention_weights(const Tensor& q, const Tensor& k, const Tensor& attention_mask, const Tensor& bias,
                         const AttentionSettings& o) {
  const std::int64_t t = q.size(-2), s = k.size(-2);
  Tensor scores = matmul(o.scale * q, transpose(k));
  Tensor hidden = attention_mask;
  if (o.pattern) {
    const Tensor unseen = pattern_mask(*o.pattern, t, s);
    hidden = hidden.defined() ? logical_or(hidden, unseen) : unseen;
  }
  if (bias.defined()) {
    scores = scores + bias;
    constexpr double nothing = -std::numeric_limits<double>::infinity();
    const Tensor off = eq(bias, nothing);
    if (any(off)) hidden = hidden.defined() ? logical_or(hidden, off) : off;  // whatever the key holds
  }
  if (o.causal) {
    const Tensor future = gt(arange(s), unsqueeze(arange(t), 1) + (s - t));
    hidden = hidden.defined() ? logical_or(hidden, future) : future;
  }
  if (hidden.defined()) scores = masked_fill(scores, hidden, -std::numeric_limits<double>::infinity());
  return softmax(scores, -1);
}

namespace {

/// weights [..., t, s] times v: what weighs 0 has no influence.
Tensor weighted(const Tensor& weights, const Tensor& v) { return matmul_past_zeros(weights, v, Zeros::left); }

}  // namespace

Tensor attention_output(const Tensor& weights, const Tensor& v, const AttentionSettings& o) {
  if (o.dropout == 0) return weighted(weights, v);
  // A row's random numbers begin with a block of four of their own.
  const std::int64_t s = weights.size(-1), rest = (4 - s % 4) % 4;
  const Tensor kept = dropout_at(pad(weights, -1, 0, rest), o.dropout, o.dropout_key);
  return weighted(slice(kept, -1, 0, s), v);
}

Tensor fused_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                                const Tensor& bias, const AttentionSettings& o, Here here) {
  const Op op{"scaled_dot_product_attention_composed", here};
  // Beside a bias, which is a matrix, and dropout, which numbers its elements, nothing is gained.
  const bool gathers = o.pattern && !bias.defined() && o.dropout == 0;
  if (gathers && q.numel() > 0 && k.numel() > 0 && v.numel() > 0) return gathered_attention(q, k, v, attention_mask, o);
  return dense_attention(q, k, v, attention_mask, bias, o);
}

Tensor dense_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                       const Tensor& bias, const AttentionSettings& o) {
  if (q.rank() < 3) return attention_output(attention_weights(q, k, attention_mask, bias, o), v, o);
  const std::int64_t heads = q.size(-3);
  return attention_output(attention_weights(q, repeat_heads(k, heads), attention_mask, bias, o), repeat_heads(v, heads),
                          o);
}

}  // namespace attune::detail
