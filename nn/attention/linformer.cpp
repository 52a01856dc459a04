#include "nn/attention/linformer.h"

#include <cmath>

#include "autograd/ops/attention/attention.h"
#include "autograd/ops/create.h"
#include "autograd/ops/matmul.h"
#include "autograd/ops/movement.h"
#include "autograd/tape/op.h"
#include "nn/attention/internal/features.h"
#include "nn/attention/internal/options.h"
#include "nn/attention/internal/projections.h"
#include "nn/init.h"
#include "nn/internal/check.h"

namespace attune::nn {

namespace {

const LinformerOptions& checked(const detail::Check& check, std::int64_t heads, const LinformerOptions& o) {
  check.at_least(1, heads, "heads");
  check.at_least(1, o.length, "length");
  check.at_least(1, o.projected, "projected");
  check.probability(o.dropout, "dropout");
  if (o.causal) check.fail(std::string("attention cannot be causal: ") + detail::linformer_mixes);
  return o;
}

Tensor drawn_projection(std::int64_t heads, const LinformerOptions& o) {
  const Tensor w =
      o.sharing == LinformerSharing::none ? zeros({heads, o.length, o.projected}) : zeros({o.length, o.projected});
  const double most = 1 / std::sqrt(static_cast<double>(o.projected));
  return init::uniform_(w, -most, most);
}

/// x [b, s, g, d] as [b, g, k, d].
Tensor project(const Tensor& x, const Tensor& projection) {
  const Tensor rows = slice(projection, -2, 0, x.size(1));
  return matmul(transpose(rows), permute(x, {0, 2, 1, 3}));
}

}  // namespace

LinformerAttention::LinformerAttention(std::int64_t heads, const LinformerOptions& o, Here here)
    : Module(here),
      options(checked({"LinformerAttention", *this}, heads, o)),
      proj_k(parameter("proj_k", drawn_projection(heads, o))),
      proj_v(o.sharing == LinformerSharing::key_value ? absent("proj_v")
                                                      : parameter("proj_v", drawn_projection(heads, o))),
      heads_(heads) {}

Tensor LinformerAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                      const Tensor& key_padding_mask, Here here) const {
  const Scope scope(*this, "LinformerAttention", here);
  const Op op{"linformer_attention", here};
  const Tensors in = scope.in(Tensors{query, key, value});
  const Tensor &q = in[0], &k = in[1], &v = in[2];
  op.check_floating(q);
  op.check_same_dtype(q, k);
  op.check_same_dtype(q, v);
  if (q.rank() != 4 || k.rank() != 4 || v.rank() != 4 || q.size(2) != heads_ || k.size(0) != q.size(0) ||
      v.size(0) != k.size(0) || v.size(1) != k.size(1) || v.size(2) != k.size(2) || k.size(3) != q.size(3) ||
      (k.size(2) != heads_ && k.size(2) != 1))
    op.fail_shape("q " + q.shape().str() + ", k " + k.shape().str() + " and v " + v.shape().str() +
                  " do not fit [b, t, " + std::to_string(heads_) +
                  ", d], [b, s, g, d], [b, s, g, m] with g = " + std::to_string(heads_) + " heads or 1");
  if (k.size(1) > options.length)
    op.fail_shape("keys of " + std::to_string(k.size(1)) + " positions are longer than the projections' length " +
                  std::to_string(options.length));
  detail::check_padding(op, key_padding_mask, k);
  // One projection for both makes one of keys that are values too.
  const Tensor keys = project(detail::without_hidden(k, key_padding_mask), proj_k);
  const Tensor values =
      project(detail::without_hidden(v, key_padding_mask), proj_v.defined() ? proj_v.tensor() : proj_k.tensor());
  const AttentionOptions o{.dropout = training() ? options.dropout : 0,
                           .generator = options.generator,
                           .grouped_heads = keys.size(1) != heads_};
  return scope.out(
      permute(scaled_dot_product_attention(permute(q, {0, 2, 1, 3}), keys, values, o).output, {0, 2, 1, 3}));
}

}  // namespace attune::nn
