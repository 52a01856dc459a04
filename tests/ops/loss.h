// Samples of ops/loss.h.
#pragma once

#include <algorithm>

#include "tests/ops/op_table.h"

namespace attune::tests {

namespace detail {

/// Class indices for logits [.., classes], every `ignored_every`th of them ignored.
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

/// 1 and -1 in turn, a shape's worth.
inline Tensor signs(const Shape& shape) {
  std::vector<double> v(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < v.size(); ++i) v[i] = i % 2 == 0 ? 1 : -1;
  return tensor(v, shape, float64);
}
inline Tensor signs_like(const Tensor& x) { return to(signs(x.shape()), x.dtype()); }
/// The same, one for each row of embeddings.
inline Tensor row_signs(const Tensor& x) {
  Shape rows = x.shape();
  if (rows.rank() > 0) rows.resize(rows.rank() - 1);
  return to(signs(rows), x.dtype());
}

}  // namespace detail

/// Long: a table, one row an operation.
inline Rows loss_rows() {
  const std::vector<std::vector<Shape>> pairs{{{2, 3}, {2, 3}}, {{}, {}}, {{1, 3}, {1, 3}}, {{0, 3}, {0, 3}}};
  const std::vector<Shape> large{{1024, 1024}, {1024, 1024}};
  const std::vector<Domain> apart{{.low = 1, .high = 2}, {.low = -1, .high = 0.5}};
  return {
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
       .bench = {{512, 1024}}},
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
      {.name = "smooth_l1_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {smooth_l1_loss(x[0], x[1], 9), smooth_l1_loss(x[0], x[1], 0.4, Reduction::none),
                 smooth_l1_loss(x[0], x[1], 0)};
       },
       .shapes = pairs,
       .domains = apart,
       .bad = [] { smooth_l1_loss(zeros({2}), zeros({2}), -1); },
       .message = "smooth_l1_loss: beta = -1 must not be negative",
       .bench = large},
      {.name = "binary_cross_entropy",
       .call = [](const Tensors& x) -> Tensors {
         return {binary_cross_entropy(x[0], x[1]), binary_cross_entropy(x[0], x[1], x[1], Reduction::none)};
       },
       .shapes = pairs,
       .domains = {{.low = 0.1, .high = 0.9}, {.low = 0, .high = 1}},
       .bad = [] { binary_cross_entropy(full({2}, 1.5), zeros({2})); },
       .message = "binary_cross_entropy: the probability 1.5 is not in [0, 1]",
       .bench = large},
      {.name = "soft_margin_loss",
       .call = [](const Tensors& x) -> Tensors { return {soft_margin_loss(x[0], x[1])}; },
       .shapes = pairs,
       .bad = [] { soft_margin_loss(zeros({2}), zeros({3})); },
       .message = "soft_margin_loss: shapes differ: [2] and [3]",
       .bench = large},
      {.name = "hinge_embedding_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {hinge_embedding_loss(x[0], detail::signs_like(x[0])),
                 hinge_embedding_loss(x[0], detail::signs_like(x[0]), 0.2, Reduction::sum)};
       },
       .shapes = {{{2, 3}}, {{}}, {{1, 3}}, {{0, 3}}},
       .domains = {{.kinks = {0.2, 1}}},
       .bad = [] { hinge_embedding_loss(zeros({2}), full({2}, 0.5)); },
       .message = "hinge_embedding_loss: the target 0.5 is neither 1 nor -1",
       .bench = {{1024, 1024}}},
      {.name = "margin_ranking_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {margin_ranking_loss(x[0], x[1], detail::signs_like(x[0]), 0.2),
                 margin_ranking_loss(x[0], x[1], detail::signs_like(x[0]), 9)};
       },
       .shapes = pairs,
       .domains = apart,
       .bad = [] { margin_ranking_loss(zeros({2}), zeros({2}), zeros({3})); },
       .message = "margin_ranking_loss: shapes differ: [2] and [3]",
       .bench = large},
      {.name = "cosine_embedding_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {cosine_embedding_loss(x[0], x[1], detail::row_signs(x[0]), -1.5),
                 cosine_embedding_loss(x[0], x[1], detail::row_signs(x[0]), -1.2, Reduction::none)};
       },
       .shapes = {{{2, 3}, {2, 3}}, {{3}, {3}}, {{1, 3}, {1, 3}}, {{0, 3}, {0, 3}}},
       .domains = {{.kinks = {0}, .margin = 0.2}, {.kinks = {0}, .margin = 0.2}},
       .bad =
           [] {
             cosine_embedding_loss(zeros({2, 3}), zeros({2, 3}), zeros({3}));
           },
       .message = "cosine_embedding_loss: target [3] must be [2] for [2, 3]",
       .bench = large},
      {.name = "triplet_margin_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {triplet_margin_loss(x[0], x[1], x[2], {.margin = 9}),
                 triplet_margin_loss(x[0], x[1], x[2], {.margin = 30, .p = 3, .swap = true}),
                 triplet_margin_loss(x[0], x[1], x[2], {.margin = 9, .p = 1, .reduction = Reduction::none})};
       },
       .shapes = {{{2, 3}, {2, 3}, {2, 3}},
                  {{3}, {3}, {3}},
                  {{}, {}, {}},
                  {{1, 3}, {1, 3}, {1, 3}},
                  {{0, 3}, {0, 3}, {0, 3}}},
       .domains = {{.low = 0, .high = 0.4}, {.low = 1, .high = 1.4}, {.low = 2.2, .high = 2.6}},
       .bad = [] { triplet_margin_loss(zeros({2}), zeros({2}), zeros({2}), {.margin = 0}); },
       .message = "triplet_margin_loss: margin = 0 must be positive",
       .bench = {{1024, 64}, {1024, 64}, {1024, 64}}},
      {.name = "poisson_nll_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {poisson_nll_loss(x[0], x[1]), poisson_nll_loss(x[0], x[1], {.full = true}),
                 poisson_nll_loss(x[0], x[1], {.log_input = false, .reduction = Reduction::none})};
       },
       .shapes = pairs,
       .domains = {{.low = 0.5, .high = 2}, {.low = 0.2, .high = 4, .kinks = {1}}},
       .bad = [] { poisson_nll_loss(zeros({2}), zeros({3})); },
       .message = "poisson_nll_loss: shapes differ: [2] and [3]",
       .bench = large},
      {.name = "gaussian_nll_loss",
       .call = [](const Tensors& x) -> Tensors {
         return {gaussian_nll_loss(x[0], x[1], x[2]), gaussian_nll_loss(x[0], x[1], x[2], {.full = true, .eps = 0.3})};
       },
       .shapes = {{{2, 3}, {2, 3}, {2, 3}},
                  {{2, 3}, {2, 3}, {2, 1}},
                  {{2, 3}, {2, 3}, {2}},
                  {{}, {}, {}},
                  {{1, 3}, {1, 3}, {1, 3}},
                  {{0, 3}, {0, 3}, {0, 3}}},
       .domains = {{}, {}, {.low = 0.1, .high = 2, .kinks = {0.3}}},
       .bad =
           [] {
             gaussian_nll_loss(zeros({2, 3}), zeros({2, 3}), zeros({3}));
           },
       .message = "gaussian_nll_loss: the variance [3] does not fit [2, 3]",
       .bench = {{1024, 1024}, {1024, 1024}, {1024, 1024}}},
  };
}

}  // namespace attune::tests
