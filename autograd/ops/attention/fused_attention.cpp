#include "autograd/ops/attention/internal/fused_attention.h"

#include <limits>

#include "autograd/kernels/attention/attention.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/second_derivative.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/random.h"
#include "autograd/ops/softmax.h"

namespace attune::detail {

namespace {

using kernels::AttentionPlan;
using kernels::AttentionSums;
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
  return {static_cast<const T*>(x.raw()), r > 3 ? s[r - 4] : 0, r > 2 ? s[r - 3] : 0, s[r - 2], s[r - 1]};
}

template <class T>
AttentionPlan<T> plan_of(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                         const Tensor& bias, const FusedAttentionOptions& o) {
  const Shape scores = scores_shape(q, k);
  AttentionPlan<T> p;
  p.batch = q.rank() > 3 ? q.size(-4) : 1;
  p.heads = q.rank() > 2 ? q.size(-3) : 1;
  p.queries = q.size(-2);
  p.keys = k.size(-2);
  p.head_dim = q.size(-1);
  p.value_dim = v.size(-1);
  p.causal = o.causal;
  p.scale = o.scale;
  p.attention_mask = term_of<bool>(attention_mask, scores);
  p.bias = term_of<T>(bias, scores);
  p.dropout = o.dropout;
  p.dropout_key = o.dropout_key;
  p.q = heads_of<const T>(q);
  p.k = heads_of<const T>(k);
  p.v = heads_of<const T>(v);
  return p;
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

template <class T>
AttentionSums<T> sums_of(const Tensor& sums) {
  auto* first = static_cast<T*>(sums.unsafe_data());
  return {first, first + sums.numel() / 2};
}

/// dq, dk, dv, and the bias's gradient in the scores' shape where it is wanted.
Tensors fused_attention_grad(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                             const Tensor& bias, const Tensor& dout, const Tensor& out, const Tensor& sums,
                             const FusedAttentionOptions& o, bool wants_bias, Here here) {
  const Op op{"scaled_dot_product_attention_grad", here};
  const Tensor qd = with_dense_rows(q), kd = with_dense_rows(k), vd = with_dense_rows(v), gd = with_dense_rows(dout);
  Tensors grads{laid_out_like(q, q.size(-1)), laid_out_like(k, k.size(-1)), laid_out_like(v, v.size(-1))};
  if (wants_bias) grads.push_back(op.empty(scores_shape(q, k), q.dtype()));
  with_floating(q.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::attention_grad<T>(plan_of<T>(qd, kd, vd, attention_mask, bias, o), heads_of<const T>(out),
                               sums_of<const T>(sums), heads_of<const T>(gd), heads_of<T>(grads[0]),
                               heads_of<T>(grads[1]), heads_of<T>(grads[2]),
                               wants_bias ? elements<T>(grads[3]) : nullptr);
  });
  // For second derivatives: out and the sums are functions of the others, so the composed form takes no notice of them.
  return op.record_joint(
      std::move(grads), of<fused_attention_grad>(q, k, v, attention_mask, bias, dout, out, sums, o, wants_bias),
      "differentiates the composed form",
      [q = Saved(q), k = Saved(k), v = Saved(v), attention_mask = Saved(attention_mask), bias = Saved(bias),
       dout = Saved(dout), o, wants_bias](const Tensors& gs, const Needs&) {
        const bool biased = bias.get().defined();
        Tensors inputs{q.get(), k.get(), v.get(), dout.get()};
        if (biased) inputs.push_back(bias.get());
        const Tensors d = differentiate_composition(
            [&](const Tensors& in) {
              const Tensor term = biased ? expand(in[4], scores_shape(in[0], in[1])) : Tensor();
              const Tensor y = fused_attention_composed(in[0], in[1], in[2], attention_mask, term, o, {});
              Tensors of_these{in[0], in[1], in[2]};
              if (wants_bias) of_these.push_back(term);
              return grad({y}, of_these, {.cotangents = {in[3]}, .create_graph = true, .allow_unused = true});
            },
            inputs, gs);
        return Tensors{d[0], d[1], d[2], {}, biased ? d[4] : Tensor(), d[3]};
      });
}

}  // namespace

Tensor fused_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                       const Tensor& bias, const FusedAttentionOptions& o, Here here) {
  const Op op{"scaled_dot_product_attention", here};
  const Tensor qd = with_dense_rows(q), kd = with_dense_rows(k), vd = with_dense_rows(v);
  Tensor out = laid_out_like(q, v.size(-1));
  std::int64_t rows = 1;  // not from numel(): heads may have no elements
  for (int i = 0; i + 1 < q.rank(); ++i) rows *= q.shape()[i];
  Tensor sums = op.empty({2, rows}, q.dtype());
  with_floating(q.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::attention<T>(plan_of<T>(qd, kd, vd, attention_mask, bias, o), heads_of<T>(out), sums_of<T>(sums));
  });
  return op.record_joint(
      std::move(out), of<fused_attention, fused_attention_composed>(q, k, v, attention_mask, bias, o),
      "dv = p^T dy, ds = p (dy v^T - dy . y), dq = scale ds k, dk = scale ds^T q",
      [q = Saved(q), k = Saved(k), v = Saved(v), attention_mask = Saved(attention_mask), bias = Saved(bias), sums, o](
          const Tensors& dys, const Needs& needs, const Tensors& ys) {
        Tensors d = fused_attention_grad(q, k, v, attention_mask, bias, dys[0], ys[0], sums, o, needs[4], {});
        return Tensors{d[0], d[1], d[2], {}, needs[4] ? d[3] : Tensor()};
      });
}

Tensor attention_weights(const Tensor& q, const Tensor& k, const Tensor& attention_mask, const Tensor& bias,
                         const FusedAttentionOptions& o) {
  const std::int64_t t = q.size(-2), s = k.size(-2);
  Tensor scores = matmul(o.scale * q, transpose(k));
  if (bias.defined()) scores = scores + bias;
  Tensor hidden = attention_mask;
  if (o.causal) {
    const Tensor future = gt(arange(s), unsqueeze(arange(t), 1) + (s - t));
    hidden = hidden.defined() ? logical_or(hidden, future) : future;
  }
  if (hidden.defined()) scores = masked_fill(scores, hidden, -std::numeric_limits<double>::infinity());
  return softmax(scores, -1);
}

Tensor attention_output(const Tensor& weights, const Tensor& v, const FusedAttentionOptions& o) {
  if (o.dropout == 0) return matmul(weights, v);
  // A row's random numbers begin with a block of four of their own.
  const std::int64_t s = weights.size(-1), rest = (4 - s % 4) % 4;
  const Tensor kept = dropout_at(pad(weights, -1, 0, rest), o.dropout, o.dropout_key);
  return matmul(slice(kept, -1, 0, s), v);
}

Tensor fused_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& attention_mask,
                                const Tensor& bias, const FusedAttentionOptions& o, Here here) {
  const Op op{"scaled_dot_product_attention_composed", here};
  return attention_output(attention_weights(q, k, attention_mask, bias, o), v, o);
}

}  // namespace attune::detail
