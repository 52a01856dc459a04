#include "autograd/ops/attention/internal/chunked_attention.h"

#include <algorithm>
#include <limits>

#include "autograd/ops/attention/internal/heads.h"
#include "autograd/ops/create.h"
#include "autograd/ops/elementwise.h"
#include "autograd/ops/internal/apply.h"
#include "autograd/ops/internal/second_derivative.h"
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

ChunkPlan plan_of(const Tensor& q, const Tensor& buckets, const Tensor& key_padding_mask, const Tensor& order,
                  const ChunkedOptions& o) {
  ChunkPlan p;
  p.batch = q.size(0);
  p.length = q.size(1);
  p.heads = q.size(2);
  p.head_dim = q.size(3);
  p.rounds = o.rounds;
  p.chunk = o.chunk;
  p.before = o.before;
  p.after = o.after;
  p.ring = o.ring;
  p.own_chunk_first = o.own_chunk_first;
  p.causal = o.causal;
  p.same_bucket = o.same_bucket;
  p.correct_duplicates = o.correct_duplicates;
  p.self_last = o.self_last;
  p.self_replaced = o.self_replaced;
  p.self_penalty = o.self_penalty;
  p.scale = o.scale;
  p.dropout = o.dropout;
  p.dropout_key = o.dropout_key;
  if (order.defined()) p.order = static_cast<const std::int32_t*>(order.raw());
  if (buckets.defined()) p.bucket = static_cast<const std::int32_t*>(buckets.raw());
  if (key_padding_mask.defined()) p.key_padding_mask = static_cast<const bool*>(key_padding_mask.raw());
  return p;
}

/// [b, h, R, n] positions sorted by bucket in each round; undefined without buckets.
Tensor order_of(const Tensor& buckets) {
  if (!buckets.defined()) return {};
  Tensor order = empty(buckets.shape(), DType::int32);
  const auto* b = static_cast<const std::int32_t*>(buckets.raw());
  const std::int64_t limit = buckets.numel() == 0 ? 1 : std::int64_t{1} + *std::max_element(b, b + buckets.numel());
  kernels::bucket_order(b, buckets.size(0) * buckets.size(1), buckets.size(2), buckets.size(3), limit,
                        elements<std::int32_t>(order));
  return order;
}

Tensors chunked_attention_grad(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& dout, const Tensor& out,
                               const Tensor& sums, const Tensor& order, const Tensor& buckets,
                               const Tensor& key_padding_mask, const ChunkedOptions& o, Here here) {
  const Op op{"chunked_attention_grad", here};
  const Tensor qd = with_dense_rows(q), kd = with_dense_rows(k), vd = with_dense_rows(v), od = with_dense_rows(out),
               gd = with_dense_rows(dout);
  Tensor dq = op.empty(q.shape(), q.dtype()), dk = op.empty(k.shape(), k.dtype()), dv = op.empty(v.shape(), v.dtype());
  with_floating(q.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::chunked_attention_grad<T>(plan_of(q, buckets, key_padding_mask, order, o), heads_of<const T>(qd),
                                       heads_of<const T>(kd), heads_of<const T>(vd), heads_of<const T>(od),
                                       elements<T>(sums), elements<T>(sums) + sums.numel() / 2, heads_of<const T>(gd),
                                       heads_of<T>(dq), heads_of<T>(dk), heads_of<T>(dv));
  });
  // For second derivatives: out and the sums are functions of q, k and v, so the composed form takes no notice of them.
  return op.record_joint(
      Tensors{dq, dk, dv}, of<chunked_attention_grad>(q, k, v, dout, out, sums, order, buckets, key_padding_mask, o),
      "differentiates the composed form",
      [q = Saved(q), k = Saved(k), v = Saved(v), dout = Saved(dout), buckets = Saved(buckets),
       key_padding_mask = Saved(key_padding_mask), o](const Tensors& gs, const Needs&) {
        return differentiate_composition(
            [&](const Tensors& in) {
              const Tensor y =
                  chunked_attention_composed(in[0], in[1], in[2], buckets.get(), key_padding_mask.get(), o, {});
              return grad({y}, {in[0], in[1], in[2]},
                          {.cotangents = {in[3]}, .create_graph = true, .allow_unused = true});
            },
            {q.get(), k.get(), v.get(), dout.get()}, gs);
      });
}

}  // namespace

Tensor chunked_attention(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                         const Tensor& key_padding_mask, const ChunkedOptions& o, Here here) {
  const Op op{"chunked_attention", here};
  const Tensor qd = with_dense_rows(q), kd = with_dense_rows(k), vd = with_dense_rows(v);
  const Tensor order = order_of(buckets);
  Tensor out = op.empty(q.shape(), q.dtype());
  Tensor sums = op.empty({2, q.size(0), q.size(2), q.size(1)}, q.dtype());
  with_floating(q.dtype(), [&](auto zero) {
    using T = decltype(zero);
    kernels::chunked_attention<T>(plan_of(q, buckets, key_padding_mask, order, o), heads_of<const T>(qd),
                                  heads_of<const T>(kd), heads_of<const T>(vd), heads_of<T>(out), elements<T>(sums),
                                  elements<T>(sums) + sums.numel() / 2);
  });
  return op.record_joint(
      std::move(out), of<chunked_attention, chunked_attention_composed>(q, k, v, buckets, key_padding_mask, o),
      "dv = p^T dy, ds = p (dy v^T - dy . y), dq = ds k, dk = ds^T q, over the chunks",
      [q = Saved(q), k = Saved(k), v = Saved(v), sums, order, buckets = Saved(buckets),
       key_padding_mask = Saved(key_padding_mask), o](const Tensors& dys, const Needs&, const Tensors& ys) {
        return chunked_attention_grad(q, k, v, dys[0], ys[0], sums, order, buckets, key_padding_mask, o, {});
      });
}

Tensor chunked_weights(const Tensor& q, const Tensor& k, const Tensor& buckets, const Tensor& key_padding_mask,
                       const ChunkedOptions& o) {
  const std::int64_t b = q.size(0), n = q.size(1), h = q.size(2);
  Tensor counts = empty({b, h, n, n}, DType::int32);
  kernels::chunked_attention_counts(plan_of(q, buckets, key_padding_mask, order_of(buckets), o),
                                    elements<std::int32_t>(counts), nullptr);
  Tensor scores = o.scale * matmul(permute(q, {0, 2, 1, 3}), permute(k, {0, 2, 3, 1}));
  if (o.self_last)
    scores =
        where(to(eye(n), DType::boolean), (o.self_replaced ? 0 * scores.detach() : scores) - o.self_penalty, scores);
  if (!o.correct_duplicates) scores = scores + log(maximum(to(counts, q.dtype()), 1));
  return softmax(masked_fill(scores, eq(counts, 0), -std::numeric_limits<double>::infinity()), -1);
}

Tensor chunked_attention_composed(const Tensor& q, const Tensor& k, const Tensor& v, const Tensor& buckets,
                                  const Tensor& key_padding_mask, const ChunkedOptions& o, Here here) {
  const Op op{"chunked_attention_composed", here};
  Tensor weights = chunked_weights(q, k, buckets, key_padding_mask, o);
  if (o.dropout > 0) {
    Tensor counts = op.empty(weights.shape(), DType::int32), kept = op.empty(weights.shape(), DType::float64);
    kernels::chunked_attention_counts(plan_of(q, buckets, key_padding_mask, order_of(buckets), o),
                                      elements<std::int32_t>(counts), elements<double>(kept));
    weights = weights * to(kept, weights.dtype());
  }
  return permute(matmul(weights, permute(v, {0, 2, 1, 3})), {0, 2, 1, 3});
}

}  // namespace attune::detail
