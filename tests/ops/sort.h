// Samples of ops/sort.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows sort_rows() {
  const std::vector<Shape> large{{1024, 1024}};
  return {
      {.name = "sort",
       .call = [](const Tensors& x) -> Tensors {
         return {sort(x[0]).values, sort(x[0], 0, true).values};
       },
       .shapes = {{{3, 4}}, {{}}, {{1}}, {{6}}, {{0, 2}}, {{2, 0}}, {{2, 3, 2}}},
       .bad = [] { sort(zeros({2}), 1); },
       .message = "sort: axis 1 is out of range for [2]",
       .bench = large},
      {.name = "topk",
       .call = [](const Tensors& x) -> Tensors {
         return {topk(x[0], 1).values, topk(x[0], x[0].size(0), 0).values};
       },
       .shapes = {{{3, 4}}, {{1}}, {{6}}, {{0, 2}}, {{2, 3, 2}}},
       .bad =
           [] {
             topk(zeros({2, 3}), 4);
           },
       .message = "topk: k = 4 is not in [0, 3] for axis -1 of [2, 3]",
       .bench = large},
  };
}

}  // namespace attune::tests
