// Samples of ops/gather.h.
#pragma once

#include <algorithm>

#include "tests/ops/op_table.h"

namespace attune::tests {

/// An index of `shape` into an axis of n elements: with repeats, in no order.
inline Tensor sample_index(const Shape& shape, std::int64_t n) {
  std::vector<std::int64_t> at(static_cast<std::size_t>(numel(shape)));
  for (std::size_t i = 0; i < at.size(); ++i)
    at[i] = static_cast<std::int64_t>(5 * i + i / 3) % std::max<std::int64_t>(n, 1);
  return index_tensor(at, shape);
}

/// An index for gather(x, -1, ..): k positions along the last axis.
inline Tensor sample_index_like(const Tensor& x, std::int64_t k) {
  const std::int64_t n = x.size(-1);  // refuses rank 0
  Shape shape = x.shape();
  shape.back() = k;
  return sample_index(shape, n);
}

/// Long: a table, one row an operation.
inline Rows gather_rows() {
  const std::vector<Shape> large{{1024, 1024}};
  return {
      {.name = "index_select",
       .call = [](const Tensors& x) -> Tensors {
         return {index_select(x[0], -1, sample_index({5}, x[0].size(-1))), index_select(x[0], 0, sample_index({0}, 1))};
       },
       .shapes = {{{3, 4}}, {{1}}, {{6}}, {{0, 2}}, {{2, 3, 2}}},
       .bad =
           [] {
             index_select(zeros({4}), 0, index_tensor({1, 4}));
           },
       .message = "index_select: index 4 is out of range for axis 0 of [4]",
       .bench = large},
      {.name = "index_add",
       .call = [](const Tensors& x) -> Tensors {
         return {index_add(x[0], -1, sample_index({x[1].size(-1)}, x[0].size(-1)), x[1])};
       },
       .shapes = {{{3, 4}, {3, 6}}, {{1}, {3}}, {{4}, {0}}, {{0, 2}, {0, 3}}, {{2, 3, 2}, {2, 3, 1}}, {{3, 4}, {3, 4}}},
       .bad =
           [] {
             index_add(zeros({4, 2}), 0, index_tensor({1}), zeros({2, 2}));
           },
       .message = "index_add: source [2, 2] must be [1, 2] for x [4, 2] and 1 indices",
       .bench = {{1024, 1024}, {1024, 1024}}},
      {.name = "gather",
       .call = [](const Tensors& x) -> Tensors { return {gather(x[0], -1, sample_index_like(x[0], 5))}; },
       .shapes = {{{3, 4}}, {{1}}, {{6}}, {{0, 2}}, {{2, 3, 2}}},
       .bad =
           [] {
             gather(zeros({4, 2}), 0, index_tensor({0, 1}));
           },
       .message = "gather: index [2] must have the rank of x [4, 2] and at most its sizes, except along axis 0",
       .bench = large},
      {.name = "scatter_add",
       .call = [](const Tensors& x) -> Tensors {
         return {scatter_add(x[0], -1, sample_index_like(x[0], x[1].size(-1)), x[1])};
       },
       .shapes = {{{3, 4}, {3, 6}}, {{1}, {3}}, {{4}, {0}}, {{0, 2}, {0, 3}}, {{2, 3, 2}, {2, 3, 1}}, {{3, 4}, {3, 4}}},
       .bad =
           [] {
             scatter_add(zeros({4}), 0, index_tensor({0, 1, 2}), zeros({2}));
           },
       .message = "scatter_add: source [2] is smaller than index [3]",
       .bench = {{1024, 1024}, {1024, 1024}}},
      {.name = "index_copy",
       .call = [](const Tensors& x) -> Tensors {
         return {index_copy(x[0], 0, index_tensor({2, 0}), x[1])};
       },
       .shapes = {{{3, 2}, {2, 2}}, {{3}, {2}}, {{3, 0}, {2, 0}}, {{3, 1}, {2, 1}}},
       .bad = [] { index_copy(zeros({3}), 0, index_tensor({0}), zeros({2})); },
       .message = "index_copy: source [2] must be [1] for x [3] and 1 indices",
       .bench = {{3, 1024}, {2, 1024}}},
      {.name = "scatter",
       .call = [](const Tensors& x) -> Tensors {
         const Tensor at = index_tensor({2, 0, 1, 1}, {2, 2});
         return {scatter(x[0], 0, at, x[1]), scatter(x[0], 0, at, 4.0)};
       },
       .shapes = {{{3, 2}, {2, 2}}, {{4, 3}, {2, 3}}, {{3, 2}, {3, 2}}},
       .bad = [] { scatter(zeros({2}), 0, index_tensor({2}), 1.0); },
       .message = "scatter: index 2 is out of range for axis 0 of [2]",
       .bench = {{3, 2}, {2, 2}}},
      {.name = "take_along_dim",
       .call = [](const Tensors& x) -> Tensors {
         return {take_along_dim(x[0], index_tensor({1, 0, 1}, {1, 3}), 1)};
       },
       .shapes = {{{2, 3}}, {{4, 2}}, {{0, 2}}, {{1, 3}}},
       .bad =
           [] {
             take_along_dim(zeros({2}), zeros({1, 1}, int64), 0);
           },
       .message = "take_along_dim: index [1, 1] must have the rank of x [2]",
       .bench = {{1024, 1024}}},
      {.name = "segment_sum",
       .call = [](const Tensors& x) -> Tensors {
         return {segment_sum(x[0], index_tensor({0, 2, 0}), 4)};
       },
       .shapes = {{{3, 2}}, {{3}}, {{3, 0}}, {{3, 1}}},
       .bad =
           [] {
             segment_sum(zeros({2}), index_tensor({0, 1}), 1);
           },
       .message = "segment_sum: index 1 is out of range for 1 segments",
       .bench = {{3, 1024}}},
  };
}

}  // namespace attune::tests
