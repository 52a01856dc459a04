// Samples of ops/reduce.h.
#pragma once

#include <cmath>

#include "tests/ops/op_table.h"

namespace attune::tests {

/// Long: a table, one row an operation.
inline Rows reduce_rows() {
  using Reduction = Tensor (*)(const Tensor&, const Dims&, bool, Here);
  const std::vector<Shape> large{{1024, 1024}};
  const std::vector<std::vector<Shape>> shapes{{{3, 4}}, {{}}, {{1}}, {{5}}, {{2, 3, 2}}, {{3, 1}}};
  const auto and_empty = [](std::vector<std::vector<Shape>> s) {
    s.push_back({{0}});
    s.push_back({{0, 3}});
    return s;
  };
  const auto and_nothing_at_all = [](std::vector<std::vector<Shape>> s) {
    s.push_back({{0, 3, 0}});
    return s;
  };
  const auto and_rows_of_nothing = [](std::vector<std::vector<Shape>> s) {
    s.push_back({{0, 3}});
    return s;
  };
  // Over all axes, over the first and last ones, and over the last one, which stays; what has no value of nothing only
  // where there are no results either.
  const auto over_axes = [](Reduction f, bool of_nothing = true) {
    return [f, of_nothing](const Tensors& x) -> Tensors {
      Tensors ys;
      const bool defined = of_nothing || x[0].numel() != 0;
      if (defined) ys.push_back(f(x[0], {}, false, Here::current()));
      if (defined && x[0].rank() > 1) ys.push_back(f(x[0], {0, -1}, false, Here::current()));
      if (x[0].rank() > 0) ys.push_back(f(x[0], {-1}, true, Here::current()));
      return ys;
    };
  };
  return {
      {.name = "sum",
       .call = over_axes(sum),
       .shapes = and_empty(shapes),
       .bad =
           [] {
             sum(zeros({2, 3}), {2});
           },
       .message = "sum: axis 2 is out of range for [2, 3]",
       .bench = large},
      {.name = "mean",
       .call = over_axes(mean),
       .shapes = and_empty(shapes),
       .bad = [] { mean(zeros({3}, int64)); },
       .message = "mean: needs float32 or float64, got int64 [3]",
       .bench = large},
      {.name = "prod",
       .call = over_axes(prod),
       .shapes = and_empty(shapes),
       .bad =
           [] {
             prod(zeros({2, 3}), {1, -1});
           },
       .message = "prod: axes [1, -1] repeat an axis",
       .bench = large},
      {.name = "amax",
       .call = over_axes(amax),
       .shapes = shapes,
       .bad =
           [] {
             amax(zeros({2, 0}));
           },
       .message = "amax: nothing to choose from along axes [0, 1] of [2, 0]",
       .bench = large},
      {.name = "amin",
       .call = over_axes(amin),
       .shapes = shapes,
       .bad =
           [] {
             amin(zeros({2, 0}), {1});
           },
       .message = "amin: nothing to choose from along axes [1] of [2, 0]",
       .bench = large},
      {.name = "var",
       .call = [](const Tensors& x) -> Tensors {
         const double correction = x[0].rank() == 0 ? 0 : 1;  // one number has no variance with it
         if (x[0].numel() == 0) return {var(x[0], {-1})};
         return {var(x[0], {-1}, correction), var(x[0], {}, 0, true)};
       },
       .shapes = {{{3, 4}}, {{5}}, {{2, 3, 2}}, {{0, 4}}, {{1, 4}}, {{}}},
       .bad = [] { var(zeros({3}, int32)); },
       .message = "var: needs float32 or float64, got int32 [3]",
       .bench = large},
      {.name = "std_dev",
       .call = [](const Tensors& x) -> Tensors {
         const double correction = x[0].rank() == 0 ? 0 : 1;
         if (x[0].numel() == 0) return {std_dev(x[0], {-1})};
         return {std_dev(x[0], {-1}, correction), std_dev(x[0], {}, 0, true)};
       },
       .shapes = {{{3, 4}}, {{5}}, {{2, 2, 3}}, {{0, 4}}, {{1, 4}}, {{}}},
       .bad = [] { std_dev(zeros({3}, int32)); },
       .message = "std_dev: needs float32 or float64, got int32 [3]",
       .bench = large},
      {.name = "norm",
       .call = over_axes(norm),
       .shapes = and_empty({{{3, 4}}, {{5}}, {{2, 3, 2}}, {{1, 4}}, {{}}}),
       .domains = {{.low = 0.5}},
       .bad = [] { norm(zeros({2}), {1}); },
       .message = "norm: axis 1 is out of range for [2]",
       .bench = large},
      {.name = "logsumexp",
       .call = over_axes(logsumexp, false),
       .shapes = and_rows_of_nothing(shapes),
       .bad = [] { logsumexp(zeros({3}, int64)); },
       .message = "logsumexp: needs float32 or float64, got int64 [3]",
       .bench = large},
      {.name = "cumsum",
       .call = [](const Tensors& x) -> Tensors {
         return {cumsum(x[0], 0), cumsum(x[0], -1)};
       },
       .shapes = and_empty(shapes),
       .bad = [] { cumsum(zeros({2}), 1); },
       .message = "cumsum: axis 1 is out of range for [2]",
       .bench = large},
      {.name = "sum_to",
       .call = [](const Tensors& x) -> Tensors {
         Shape column = x[0].shape();
         if (!column.empty()) column.back() = 1;
         return {sum_to(x[0], {}), sum_to(x[0], column)};
       },
       .shapes = and_empty(shapes),
       .bad =
           [] {
             sum_to(zeros({2, 3}), {2});
           },
       .message = "sum_to: [2] does not broadcast to [2, 3]",
       .bench = large},
      {.name = "nansum",
       .call = over_axes(nansum),
       .shapes = and_empty(shapes),
       .bad = [] { nansum(zeros({3}, int64)); },
       .message = "nansum: needs float32 or float64, got int64 [3]",
       .bench = large},
      {.name = "max",
       .call = [](const Tensors& x) -> Tensors {
         return {max(x[0], 0).values, max(x[0], -1, true).values};
       },
       .shapes = and_nothing_at_all(shapes),
       .bad =
           [] {
             max(zeros({2, 0}), 1);
           },
       .message = "max: nothing to choose from along axis 1 of [2, 0]",
       .bench = large},
      {.name = "min",
       .call = [](const Tensors& x) -> Tensors {
         return {min(x[0], 0).values, min(x[0], -1, true).values};
       },
       .shapes = and_nothing_at_all(shapes),
       .bad =
           [] {
             min(zeros({2, 0}), 1);
           },
       .message = "min: nothing to choose from along axis 1 of [2, 0]",
       .bench = large},
      {.name = "vector_norm",
       .call = [](const Tensors& x) -> Tensors {
         return {vector_norm(x[0], 1),        vector_norm(x[0], 3.5, {0}),  vector_norm(x[0], -1, {-1}, true),
                 vector_norm(x[0], INFINITY), vector_norm(x[0], -INFINITY), vector_norm(x[0], 2)};
       },
       .shapes = shapes,
       .domains = {{.kinks = {0}, .margin = 0.2}},
       .bad = [] { vector_norm(zeros({2}), NAN); },
       .message = "vector_norm: p is not a number",
       .bench = large},
      {.name = "var_mean",
       .call = [](const Tensors& x) -> Tensors {
         const VarMeanResult m = var_mean(x[0], {-1}, 0);
         return {m.var, m.mean};
       },
       .shapes = and_rows_of_nothing(shapes),
       .bad = [] { var_mean(zeros({2}), {1}); },
       .message = "var_mean: axis 1 is out of range for [2]",
       .bench = large},
      {.name = "cumprod",
       .call = [](const Tensors& x) -> Tensors {
         return {cumprod(x[0], 0), cumprod(x[0], -1)};
       },
       .shapes = and_empty(shapes),
       .bad = [] { cumprod(zeros({2}), 1); },
       .message = "cumprod: axis 1 is out of range for [2]",
       .bench = large},
  };
}

}  // namespace attune::tests
