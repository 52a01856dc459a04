// Samples of ops/products.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows products_rows() {
  return {
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
  };
}

}  // namespace attune::tests
