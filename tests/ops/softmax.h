// Samples of ops/softmax.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows softmax_rows() {
  const std::vector<Shape> rows_bench{{512, 1024}};
  return {
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
  };
}

}  // namespace attune::tests
