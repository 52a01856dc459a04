// Samples of ops/index.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows index_rows() {
  return {
      {.name = "index",
       .call = [](const Tensors& x) -> Tensors {
         return {index(x[0], {1, ellipsis, new_axis}),
                 index(x[0], {ellipsis, Slice{.start = 1, .stop = {}, .step = 2}}),
                 index(x[0], {index_tensor({0, -1, 0})}), index(x[0], {ellipsis, tensor({1, 0, 1}, boolean)})};
       },
       .shapes = {{{2, 3}}, {{2, 2, 3}}, {{2, 0, 3}}, {{2, 1, 3}}},
       .bad = [] { index(zeros({2}), {2}); },
       .message = "index: index 2 is out of range for axis 0 of [2]",
       .bench = {{2, 1024, 3}}},
      {.name = "index_put",
       .call = [](const Tensors& x) -> Tensors {
         return {index_put(x[0], {index_tensor({2, 0})}, x[1]), index_put(x[0], {index_tensor({1, 1})}, x[1], true)};
       },
       .shapes = {{{3, 2}, {2, 2}}, {{3, 2}, {2}}, {{3}, {}}, {{3, 0}, {2, 0}}, {{3, 1}, {1, 1}}},
       .bad = [] { index_put(zeros({3}), {Slice{.start = 1, .stop = {}, .step = 1}}, zeros({3})); },
       .message = "index_put: values [3] do not broadcast to the elements [2] of x [3]",
       .bench = {{3, 1024}, {2, 1024}}},
      {.name = "masked_select",
       .call = [](const Tensors& x) -> Tensors {
         Dims repeats{3};  // each element is taken twice of three times
         for (int i = 0; i < x[0].rank(); ++i) repeats.push_back(1);
         return {masked_select(x[0], gt(x[0].detach(), 0)),
                 masked_select(x[0], gt(reshape(arange(3), Shape(repeats)), 0))};
       },
       .shapes = {{{2, 3}}, {{}}, {{0, 2}}, {{1, 3}}},
       .domains = {{.kinks = {0}}},
       .bad = [] { masked_select(zeros({2}), zeros({2})); },
       .message = "masked_select: the mask needs bool, got float32 [2]",
       .bench = {{1024, 1024}}},
  };
}

}  // namespace attune::tests
