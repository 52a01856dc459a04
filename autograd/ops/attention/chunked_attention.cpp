#include "autograd/ops/attention/internal/chunked_attention.h"

#include <algorithm>
#include <limits>

#include "autograd/kernels/attention/buckets.h"
#include "autograd/ops/attention/internal/attention_sums.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/second_derivative.h"
#include "autograd/ops/internal/views.h"
#include "autograd/ops/internal/zero_product.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/softmax.h"

namespace attune::detail {

namespace {

using kernels::ChunkPlan;
using kernels::Heads;

template <class T>
Heads<T> heads_of(const Tensor& x) {
  return heads_at<T>(x, 0, 2, 1);
}

ChunkPlan plan_of(const Tensor& q, const Tensor& order, const Tensor& buckets, const Tensor& key_padding_mask,
                  const ChunkSettings& o) {
  return {.settings = o,
          .batch = q.size(0),
          .heads = q.size(2),
          .length = q.size(1),
          .head_dim = q.size(3),
          .order = elements<const std::int32_t>(order),
          .buckets = elements<const std::int32_t>(buckets),
          .key_padding_mask = elements<const bool>(key_padding_mask)};
}

/// [b, h, R, n] positions sorted by bucket in each round; undefined without buckets.
Tensor order_of(const Tensor& buckets) {
  if (!buckets.defined()) return {};
  const Op op{"bucket_order", {}};
  Tensor order = op.empty(buckets.shape(), DType::int32);
  const auto* b = elements<const std::int32_t>(buckets);
  const std::int64_t limit = buckets.numel() == 0 ? 1 : std::int64_t{1} + *std::max_element(b, b + buckets.numel());
  kernels::bucket_order(b, buckets.size(0) * buckets.size(1), buckets.size(2), buckets.size(3), limit,
                        elements<std::int32_t>(order));
  return order;
}

// ---- by its definition, with n x n matrices

/// [b, h, n, n] each.
struct Meetings {
  Tensor counts;  ///< how often a query sees a key
  Tensor kept;    ///< the mean dropout factor over these times, or undefined
};

Meetings meetings(const Tensor& q, const Tensor& buckets, const Tensor& key_padding_mask, const ChunkSettings& o,
                  bool drops) {
  const Shape pairs{q.size(0), q.size(2), q.size(1), q.size(1)};
  Meetings m{empty(pairs, DType::int32), drops ? empty(pairs, DType::float64) : Tensor()};
  kernels::chunked_attention_counts(plan_of(q, order_of(buckets), buckets, key_padding_mask, o),
                                    elements<std::int32_t>(m.counts), elements<double>(m.kept));
  return m;
}

/// `unasked` [b, n, h, 1], or undefined: queries that see nothing.
Tensor weights_of(const Tensor& q, const Tensor& k, const Tensor& counts, const Tensor& unasked,
                  const ChunkSettings& o) {
  Tensor scores = o.scale * matmul(permute(q, {0, 2, 1, 3}), permute(k, {0, 2, 3, 1}));
  if (o.self_last) {
    const Tensor own = to(eye(q.size(1)), DType::boolean);
    scores = where(own, (o.self_replaced ? zeros_like(scores) : scores) - o.self_penalty, scores);
  }
  if (!o.correct_duplicates) scores = scores + log(maximum(to(counts, q.dtype()), 1));
  Tensor hidden = eq(counts, 0);
  if (unasked.defined()) hidden = logical_or(hidden, permute(unasked, {0, 2, 1, 3}));
  return softmax(masked_fill(scores, hidden, -std::numeric_limits<double>::infinity()), -1);
}

Tensor composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                const Tensor& key_padding_mask, const Tensor& unasked, const ChunkSettings& o) {
  const Meetings m = meetings(q, buckets, key_padding_mask, o, o.dropout > 0);
  Tensor weights = weights_of(q, k, m.counts, unasked, o);
  if (m.kept.defined()) weights = where(eq(m.kept, 0), 0, weights) * to(m.kept, weights.dtype());
  return permute(matmul_past_zeros(weights, permute(v, {0, 2, 1, 3}), Zeros::left), {0, 2, 1, 3});
}

}  // namespace

Tensor chunked_weights(const Tensor& q, const Tensor& k, const Tensor& buckets, const Tensor& key_padding_mask,
                       const ChunkSettings& o) {
  return weights_of(q, k, meetings(q, buckets, key_padding_mask, o, false).counts, {}, o);
}

Tensor chunked_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                                  const Tensor& key_padding_mask, const ChunkSettings& o, Here here) {
  const Op op{"chunked_attention_composed", here};
  return composed(q, k, v, buckets, key_padding_mask, {}, o);
}

// ---- in chunks

namespace {

Tensors chunked_attention_grad(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& dout, const Tensor& out,
                               const Tensor& sums, const Tensor& order, const Tensor& buckets,
                               const Tensor& key_padding_mask, const ChunkSettings& o, Here here) {
  const Op op{"chunked_attention_grad", here};
  const Tensor qd = with_dense_rows(q), kd = with_dense_rows(k), vd = with_dense_rows(v), od = with_dense_rows(out),
               gd = with_dense_rows(dout);
  Tensor dq = op.empty(q.shape(), q.dtype()), dk = op.empty(k.shape(), k.dtype()), dv = op.empty(v.shape(), v.dtype());
  with_floating(q.dtype(), [&]<class T>(T) {
    kernels::chunked_attention_grad<T>(plan_of(q, order, buckets, key_padding_mask, o),
                                       {heads_of<const T>(qd), heads_of<const T>(kd), heads_of<const T>(vd)},
                                       heads_of<const T>(od), sums_of<const T>(sums), heads_of<const T>(gd),
                                       {heads_of<T>(dq), heads_of<T>(dk), heads_of<T>(dv)});
  });
  const Tensor unasked = grad_enabled() ? unasked_rows(dout, {q, k, v}) : Tensor();
  return record_fused_grad(
      op, {dq, dk, dv}, of<chunked_attention_grad>(q, k, v, dout, out, sums, order, buckets, key_padding_mask, o),
      {q, k, v}, {dout},
      [buckets = Saved(buckets), key_padding_mask = Saved(key_padding_mask), unasked, o](const Tensors& xs) {
        return Tensors{composed(xs[0], xs[1], xs[2], buckets, key_padding_mask, unasked, o)};
      });
}

}  // namespace

Tensor chunked_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                         const Tensor& key_padding_mask, const ChunkSettings& o, Here here) {
  const Op op{"chunked_attention", here};
  const Tensor qd = with_dense_rows(q), kd = with_dense_rows(k), vd = with_dense_rows(v);
  const Tensor order = order_of(buckets);
  Tensor out = op.empty(q.shape(), q.dtype());
  Tensor sums = op.empty({2, q.size(0), q.size(2), q.size(1)}, q.dtype());
  with_floating(q.dtype(), [&]<class T>(T) {
    kernels::chunked_attention<T>(plan_of(q, order, buckets, key_padding_mask, o),
                                  {heads_of<const T>(qd), heads_of<const T>(kd), heads_of<const T>(vd)},
                                  heads_of<T>(out), sums_of<T>(sums));
  });
  return op.record_joint(
      std::move(out), of<chunked_attention, chunked_attention_composed>(q, k, v, buckets, key_padding_mask, o),
      o.dropout == 0
          ? "dq = ds k, dk = ds^T q, dv = p^T dy, ds = p (dy v^T - row sums of y dy), p = softmax(q k^T) in the windows"
          : "dq = ds k, dk = ds^T q, dv = (m p)^T dy, ds = p (m dy v^T - row sums of y dy), "
            "p = softmax(q k^T) in the windows, m = 1 / (1 - dropout) where kept",
      [q = Saved(q), k = Saved(k), v = Saved(v), sums, order, buckets = Saved(buckets),
       key_padding_mask = Saved(key_padding_mask), o](const Tensors& dys, const Needs&, const Tensors& ys) {
        return chunked_attention_grad(q, k, v, dys[0], ys[0], sums, order, buckets, key_padding_mask, o, {});
      });
}

}  // namespace attune::detail
