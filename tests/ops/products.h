// Samples of ops/matmul.h, softmax.h, norm.h, loss.h, random.h and the attention operations.
#pragma once

#include <algorithm>

#include "autograd/tape/op.h"
#include "autograd/tape/checkpoint.h"
#include "tests/ops/op_table.h"

namespace attune::tests {

namespace detail {

inline Tensor targets_for(const Tensor& logits, std::int64_t ignored_every) {
  if (!logits.defined() || logits.rank() == 0) return zeros({}, int64);
  Shape shape = logits.shape();
  const std::int64_t classes = std::max<std::int64_t>(shape.back(), 1);
  shape.resize(logits.rank() - 1);
  std::vector<std::int64_t> t;
  for (std::int64_t i = 0; i < numel(shape); ++i)
    t.push_back(i % ignored_every == ignored_every - 1 ? -100 : (3 * i + 1) % classes);
  return index_tensor(t, shape, Here{});
}

/// Buckets [b, h, R, n] that follow from nothing but the shape, so that finite differences cross no hash boundary.
inline Tensor fixed_buckets(const Tensor& qk, const LshOptions& o) {
  if (qk.rank() != 4) return {};
  const std::int64_t b = qk.size(0), n = qk.size(1), h = qk.size(2), count = 4;
  std::vector<double> v;
  for (std::int64_t i = 0; i < b * h; ++i)
    for (std::int64_t r = 0; r < o.hashes; ++r)
      for (std::int64_t p = 0; p < n; ++p)
        v.push_back(static_cast<double>((p * (2 * r + 3) + i + p / 3) % count + r * count));
  return tensor(v, {b, h, o.hashes, n}, int32);
}

inline OpRow lsh_row(const char* name, LshOptions o, std::int64_t chunk) {
  o.hashes = 2;
  o.chunk = chunk;
  o.self_penalty = 12;  // small enough for its digits to survive finite differences
  return {.name = name,
          .call = [o](const Tensors& x) -> Tensors { return {lsh_attention(x[0], x[1], fixed_buckets(x[0], o), o)}; },
          .shapes = {{{1, 8, 1, 2}, {1, 8, 1, 2}},
                     {{2, 6, 2, 1}, {2, 6, 2, 1}},
                     {{1, 3, 1, 2}, {1, 3, 1, 2}},
                     {{0, 8, 1, 2}, {0, 8, 1, 2}}},
          .domains = {{.low = 0.3, .high = 2}},
          .bad =
              [o] {
                lsh_attention(zeros({1, 8, 1, 2}), zeros({1, 7, 1, 2}), {}, o);
              },
          .message = chunk < 8 ? "lsh_attention: buckets are undefined; only a length up to the chunk of " +
                                     std::to_string(chunk) + " needs none, got [1, 8, 1, 2]"
                               : "lsh_attention: v [1, 7, 1, 2] differs from [1, 8, 1, 2]",
          .bench = {{2, 256, 4, 32}, {2, 256, 4, 32}}};
}

}  // namespace detail

inline Rows product_rows() {
  const std::vector<Shape> rows_bench{{512, 1024}};
  Rows rows{
      {.name = "matmul",
       .call = [](const Tensors& x) -> Tensors { return {matmul(x[0], x[1])}; },
       .shapes = {{{2, 3}, {3, 4}},
                  {{2, 2, 3}, {3, 2}},
                  {{2, 1, 2, 3}, {2, 3, 2}},
                  {{3}, {3}},
                  {{2, 3}, {3}},
                  {{3}, {2, 3, 2}},
                  {{0, 3}, {3, 2}},
                  {{2, 0}, {0, 3}},
                  {{1, 1}, {1, 1}},
                  {{2, 2}, {2, 2}},
                  {{1, 2}, {2, 2}}},
       .bad =
           [] {
             matmul(zeros({8, 256}), zeros({128, 64}));
           },
       .message = "matmul: inner sizes differ: [8, 256] x [128, 64] (256 != 128)",
       .bench = {{512, 512}, {512, 512}}},
      {.name = "log_softmax",
       .call = [](const Tensors& x) -> Tensors {
         return {log_softmax(x[0], x[0].rank() > 1 ? 0 : -1), log_softmax(x[0])};
       },
       .shapes = {{{2, 3}}, {{}}, {{1}}, {{0, 3}}, {{2, 3, 2}}},
       .bad =
           [] {
             log_softmax(zeros({2, 3}), 2);
           },
       .message = "log_softmax: axis 2 is out of range for [2, 3]",
       .bench = rows_bench},
      {.name = "softmax",
       .call = [](const Tensors& x) -> Tensors {
         return {softmax(x[0], x[0].rank() > 1 ? 0 : -1), softmax(x[0])};
       },
       .shapes = {{{2, 3}}, {{}}, {{1}}, {{0, 3}}, {{2, 3, 2}}},
       .bad =
           [] {
             softmax(zeros({2, 3}), 2);
           },
       .message = "softmax: axis 2 is out of range for [2, 3]",
       .bench = rows_bench},
      {.name = "softmax_grad",
       .call = [](const Tensors& x) -> Tensors { return {softmax_grad(x[0], x[1])}; },
       .shapes = {{{2, 3}, {2, 3}}, {{1}, {1}}, {{0, 3}, {0, 3}}},
       .bad =
           [] {
             softmax_grad(zeros({2, 3}), zeros({3}));
           },
       .message = "softmax_grad: dy [3] differs from y [2, 3]",
       .bench = {{512, 1024}, {512, 1024}}},
      {.name = "log_softmax_grad",
       .call = [](const Tensors& x) -> Tensors { return {log_softmax_grad(x[0], x[1])}; },
       .shapes = {{{2, 3}, {2, 3}}, {{1}, {1}}, {{0, 3}, {0, 3}}},
       .bad =
           [] {
             log_softmax_grad(zeros({2, 3}), zeros({3}));
           },
       .message = "log_softmax_grad: dy [3] differs from y [2, 3]",
       .bench = {{512, 1024}, {512, 1024}}},
      {.name = "layer_norm",
       .call = [](const Tensors& x) -> Tensors {
         return {layer_norm(x[0], x[1], x[2]), layer_norm(x[0])};
       },
       .shapes = {{{2, 3}, {3}, {3}},
                  {{2, 2, 3}, {2, 3}, {2, 3}},
                  {{0, 3}, {3}, {3}},
                  {{4}, {4}, {4}},
                  {{2, 0}, {0}, {0}},
                  {{1, 3}, {3}, {3}},
                  {{2, 1}, {1}, {1}}},
       .bad =
           [] {
             layer_norm(zeros({2, 3}), zeros({4}));
           },
       .message = "layer_norm: the weight [4] does not fit the last axes of x [2, 3]",
       .bench = {{512, 1024}, {1024}, {1024}}},
      {.name = "rms_norm",
       .call = [](const Tensors& x) -> Tensors {
         return {rms_norm(x[0], x[1]), rms_norm(x[0])};
       },
       .shapes = {{{2, 3}, {3}}, {{0, 3}, {3}}, {{4}, {4}}, {{2, 1, 2}, {2}}, {{2, 0}, {0}}, {{2, 1}, {1}}},
       .bad =
           [] {
             rms_norm(zeros({2, 3}), zeros({4}));
           },
       .message = "rms_norm: the weight [4] does not fit the last axis of x [2, 3]",
       .bench = {{512, 1024}, {1024}}},
      {.name = "cross_entropy",
       .call = [](const Tensors& x) -> Tensors {
         const Tensor t = detail::targets_for(x[0], 3);
         return {cross_entropy(x[0], t), cross_entropy(x[0], t, {.label_smoothing = 0.2, .reduction = Reduction::none}),
                 cross_entropy(x[0], t, {.reduction = Reduction::sum})};
       },
       .shapes = {{{3, 4}}, {{2, 2, 3}}, {{0, 3}}, {{1, 1}}},
       .bad =
           [] {
             cross_entropy(zeros({2, 10}), index_tensor({3, 12}));
           },
       .message = "cross_entropy: target 12 is out of range for 10 classes",
       .bench = rows_bench},
      {.name = "mse_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {mse_loss(x[0], x[1]), mse_loss(x[0], x[1], Reduction::none)};
       },
       .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{0, 3}, {0, 3}}, {{1, 3}, {1, 3}}},
       .bad = [] { mse_loss(zeros({2}), zeros({3})); },
       .message = "mse_loss: shapes differ: [2] and [3]",
       .bench = {{1 << 20}, {1 << 20}}},
      {.name = "binary_cross_entropy_with_logits",
       .call = [](const Tensors& x) -> Tensors { return {binary_cross_entropy_with_logits(x[0], x[1])}; },
       .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{0, 3}, {0, 3}}, {{1, 3}, {1, 3}}},
       .bad = [] { binary_cross_entropy_with_logits(zeros({2}), zeros({3})); },
       .message = "binary_cross_entropy_with_logits: shapes differ: [2] and [3]",
       .bench = {{1 << 20}, {1 << 20}}},
      {.name = "dropout",
       .call = [](const Tensors& x) -> Tensors {
         return {dropout_at(x[0], 0.4, {7, 3}), dropout_at(x[0], 1, {7, 4})};
       },
       .shapes = {{{2, 3}}, {{}}, {{1}}, {{0, 2}}},
       .bad = [] { dropout(zeros({2}), 1.5); },
       .message = "dropout: p = 1.5 is not in [0, 1]",
       .bench = {{1 << 20}}},
      {.name = "checkpoint",
       .call = [](const Tensors& x) -> Tensors {
         return checkpoint([](const Tensors& in) { return Tensors{tanh(in[0]) * in[1]}; }, {x[0], x[1]});
       },
       .shapes = {{{2, 3}, {2, 3}},
                  {{2, 3}, {3}},
                  {{0, 3}, {0, 3}},
                  {{1, 3}, {1, 3}},
                  {{}, {2, 3}},
                  {{2, 3}, {}},
                  {{1, 3}, {2, 3}}},
       .bad =
           [] {
             checkpoint([](const Tensors& in) { return Tensors{matmul(in[0], in[0])}; }, {zeros({2, 3})});
           },
       .message = "checkpoint: matmul: inner sizes differ: [2, 3] x [2, 3] (3 != 2)",
       .bench = {{1 << 16}, {1 << 16}}},
      {.name = "scaled_dot_product_attention",
       .call = [](const Tensors& x) -> Tensors {
         Generator g(5);
         const std::int64_t t = x[0].size(-2), s = x[1].size(-2);
         const Tensor mask = eq(arange(s), unsqueeze(arange(t), 1));
         return {
             scaled_dot_product_attention(x[0], x[1], x[2], {.causal = true}).output,
             scaled_dot_product_attention(x[0], x[1], x[2], {.attention_mask = mask, .bias = x[3], .scale = 0.7})
                 .output,
             scaled_dot_product_attention(x[0], x[1], x[2], {.bias = x[3], .dropout = 0.3, .generator = &g}).output};
       },
       .shapes = {{{1, 2, 3, 2}, {1, 2, 4, 2}, {1, 2, 4, 3}, {3, 4}},
                  {{2, 1, 2}, {3, 2}, {2, 3, 1}, {1}},
                  {{2, 1}, {2, 1}, {2, 1}, {2, 2}},
                  {{2, 1}, {2, 1}, {2, 1}, {2, 1}},
                  {{1, 2, 3, 0}, {1, 2, 4, 0}, {1, 2, 4, 3}, {3, 4}},
                  {{1, 2, 3, 2}, {1, 2, 4, 2}, {1, 2, 4, 3}, {}},
                  {{1, 2, 0, 2}, {1, 2, 4, 2}, {1, 2, 4, 0}, {0, 4}},
                  {{0, 2, 1}, {0, 2, 1}, {0, 2, 1}, {2, 2}}},
       .bad =
           [] {
             scaled_dot_product_attention(zeros({2, 3}), zeros({2, 4}), zeros({2, 4}));
           },
       .message = "scaled_dot_product_attention: q [2, 3], k [2, 4] and v [2, 4] do not fit [..., t, d], [..., s, d], "
                  "[..., s, v]",
       .bench = {{2, 4, 256, 32}, {2, 4, 256, 32}, {2, 4, 256, 32}, {256, 256}}},
      {.name = "chunked_attention",
       .call = [](const Tensors& x) -> Tensors {
         return {local_attention(x[0], x[1], x[2], {.chunk = 2}),
                 local_attention(x[0], x[1], x[2], {.chunk = 3, .chunks_after = 1, .causal = false, .dropout = 0.3}, {},
                                 {5, 9})};
       },
       .shapes = {{{1, 4, 2, 2}, {1, 4, 2, 2}, {1, 4, 2, 2}},
                  {{2, 5, 1, 3}, {2, 5, 1, 3}, {2, 5, 1, 3}},
                  {{0, 4, 1, 2}, {0, 4, 1, 2}, {0, 4, 1, 2}}},
       .bad =
           [] {
             local_attention(zeros({1, 4, 2}), zeros({1, 4, 2}), zeros({1, 4, 2}), {});
           },
       .message = "local_attention: q must be [batch, length, heads, head size], got [1, 4, 2]",
       .bench = {{2, 256, 4, 32}, {2, 256, 4, 32}, {2, 256, 4, 32}}},
      {.name = "einsum",
       .call = [](const Tensors& x) -> Tensors {
         return {einsum("bij,bjk->bik", {x[0], x[1]}), einsum("bij,cjk", {x[0], x[1]}),
                 einsum("...j,...jk->...k", {x[0], x[1]}), einsum("bij->jb", {x[0]})};
       },
       .shapes = {{{2, 2, 3}, {2, 3, 2}},
                  {{2, 2, 1}, {2, 1, 2}},
                  {{2, 2, 0}, {2, 0, 3}},
                  {{2, 1, 1}, {2, 1, 2}},
                  {{2, 2, 1}, {2, 1, 1}},
                  {{2, 2, 1}, {2, 2, 1}}},
       .bad =
           [] {
             einsum("ij,jk->ik", {zeros({2, 3}), zeros({4, 2})});
           },
       .message = "einsum: 'j' has the sizes 3 and 4 in [2, 3] and [4, 2]",
       .bench = {{64, 64, 64}, {64, 64, 64}}},
      {.name = "tensordot",
       .call = [](const Tensors& x) -> Tensors {
         return {tensordot(x[0], x[1], 1), tensordot(x[0], x[1], {1, 0}, {0, 2})};
       },
       .shapes = {{{2, 3}, {3, 2, 2}}, {{2, 0}, {0, 1, 2}}, {{1, 3}, {3, 1, 1}}},
       .bad = [] { tensordot(zeros({2}), zeros({3}), 1); },
       .message = "tensordot: sizes differ along axes [0] of [2] and [0] of [3]",
       .bench = {{64, 64}, {64, 64, 64}}},
      {.name = "outer",
       .call = [](const Tensors& x) -> Tensors { return {outer(x[0], x[1])}; },
       .shapes = {{{2}, {3}}, {{0}, {2}}, {{2}, {0}}, {{1}, {3}}, {{2}, {1}}, {{2}, {2}}},
       .bad = [] { outer(zeros({}), zeros({2})); },
       .message = "outer: needs two vectors, got [] and [2]",
       .bench = {{1024}, {1024}}},
      {.name = "inner",
       .call = [](const Tensors& x) -> Tensors { return {inner(x[0], x[1])}; },
       .shapes =
           {{{2, 3}, {4, 3}}, {{3}, {3}}, {{}, {2}}, {{2, 0}, {0}}, {{1, 3}, {4, 3}}, {{2, 1}, {4, 1}}, {{2, 3}, {}}},
       .bad = [] { inner(zeros({2}), zeros({3})); },
       .message = "inner: the last sizes differ: [2] and [3]",
       .bench = {{64, 64}, {64, 64}}},
      {.name = "addmm",
       .call = [](const Tensors& x) -> Tensors {
         return {addmm(x[0], x[1], x[2], 0.5, 2), addmm(x[0], x[1], x[2])};
       },
       .shapes = {{{2, 2}, {2, 3}, {3, 2}},
                  {{}, {2, 1}, {1, 2}},
                  {{2}, {3, 2, 2}, {3, 2, 2}},
                  {{2}, {2, 0}, {0, 2}},
                  {{0, 0}, {0, 3}, {3, 0}},
                  {{1, 1}, {1, 3}, {3, 1}},
                  {{}, {1, 1}, {1, 2}},
                  {{}, {2, 1}, {1, 1}},
                  {{2}, {2}, {3, 2, 2}}},
       .bad =
           [] {
             addmm(zeros({3}), zeros({2, 2}), zeros({2, 2}));
           },
       .message = "addmm: x [3] does not broadcast to the product [2, 2] of [2, 2] and [2, 2]",
       .bench = {{256}, {256, 256}, {256, 256}}},
      {.name = "cosine_similarity",
       .call = [](const Tensors& x) -> Tensors {
         return {cosine_similarity(x[0], x[1]), cosine_similarity(x[0], x[1], 0)};
       },
       .shapes = {{{2, 3}, {2, 3}},
                  {{2, 3}, {3}},
                  {{0, 3}, {0, 3}},
                  {{1, 3}, {1, 3}},
                  {{}, {2, 3}},
                  {{2, 3}, {}},
                  {{1, 3}, {2, 3}}},
       .domains = {{.kinks = {0}, .margin = 0.2}, {.kinks = {0}, .margin = 0.2}},
       .bad = [] { cosine_similarity(zeros({2}), zeros({3})); },
       .message = "cosine_similarity: shapes do not broadcast: [2] and [3]",
       .bench = {{1024, 64}, {1024, 64}}},
      {.name = "l1_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {l1_loss(x[0], x[1]), l1_loss(x[0], x[1], Reduction::none)};
       },
       .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{0, 3}, {0, 3}}, {{1, 3}, {1, 3}}},
       .domains = {{.low = 1, .high = 2}, {.low = -1, .high = 0.5}},
       .bad = [] { l1_loss(zeros({2}), zeros({3})); },
       .message = "l1_loss: shapes differ: [2] and [3]",
       .bench = {{1024, 1024}, {1024, 1024}}},
      {.name = "huber_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {huber_loss(x[0], x[1], 9), huber_loss(x[0], x[1], 0.4, Reduction::batch_mean)};
       },
       .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{0, 3}, {0, 3}}, {{1, 3}, {1, 3}}},
       .domains = {{.low = 1, .high = 2}, {.low = -1, .high = 0.5}},
       .bad = [] { huber_loss(zeros({2}), zeros({2}), 0); },
       .message = "huber_loss: delta = 0 must be positive",
       .bench = {{1024, 1024}, {1024, 1024}}},
      {.name = "kl_div",
       .call = [](const Tensors& x) -> Tensors {
         return {kl_div(x[0], x[1]), kl_div(x[0], x[1], true, Reduction::sum)};
       },
       .shapes = {{{2, 3}, {2, 3}}, {{}, {}}, {{0, 3}, {0, 3}}, {{1, 3}, {1, 3}}},
       .domains = {{}, {.low = 0.2, .high = 1}},
       .bad = [] { kl_div(zeros({2}), zeros({3})); },
       .message = "kl_div: shapes differ: [2] and [3]",
       .bench = {{1024, 1024}, {1024, 1024}}},
      {.name = "nll_loss",
       .call = [](const Tensors& x) -> Tensors {
         const Tensor target = index_tensor({1, -100, 0});
         return {nll_loss(x[0], target), nll_loss(x[0], target, {.reduction = Reduction::none, .weight = x[1]}),
                 cross_entropy(x[0], target, {.label_smoothing = 0.2, .weight = x[1]}),
                 cross_entropy(x[0], softmax(x[0] * x[1]), {.label_smoothing = 0.1})};
       },
       .shapes = {{{3, 2}, {2}}, {{3, 4}, {4}}},
       .domains = {{}, {.low = 0.5, .high = 2}},
       .bad =
           [] {
             nll_loss(zeros({1, 2}), index_tensor({2}));
           },
       .message = "nll_loss: target 2 is out of range for 2 classes",
       .bench = {{3, 1024}, {1024}}},
  };
  rows.push_back(detail::lsh_row("lsh_attention, as in the paper", LshOptions::paper(), 2));
  rows.push_back(detail::lsh_row("lsh_attention, as in Hugging Face's code", LshOptions::hugging_face(), 2));
  rows.push_back(detail::lsh_row("lsh_attention, as in lucidrains' code", LshOptions::lucidrains(), 2));
  rows.push_back(detail::lsh_row("lsh_attention, short sequence", LshOptions::paper(), 16));
  for (const Activation f : {Activation::none, Activation::relu, Activation::gelu, Activation::gelu_tanh,
                             Activation::silu, Activation::tanh, Activation::sigmoid})
    rows.push_back(
        {.name = f == Activation::none ? "linear" : "linear, activation " + std::to_string(static_cast<int>(f)),
         .call = [f](const Tensors& x) -> Tensors { return {linear(x[0], x[1], x[2], f)}; },
         .shapes = {{{2, 3}, {4, 3}, {4}},
                    {{2, 2, 3}, {2, 3}, {2}},
                    {{3}, {2, 3}, {2}},
                    {{0, 3}, {2, 3}, {2}},
                    {{1, 1}, {1, 1}, {1}},
                    {{2, 0}, {4, 0}, {4}},
                    {{2, 3}, {0, 3}, {0}}},
         .bad =
             [f] {
               linear(zeros({2, 3}), zeros({4, 2}), {}, f);
             },
         .message = "linear: x [2, 3] does not fit the weight [4, 2], which is [out, in]",
         .bench = {{256, 256}, {512, 256}, {512}}});
  return rows;
}

}  // namespace attune::tests
