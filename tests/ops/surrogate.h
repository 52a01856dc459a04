// Samples of ops/surrogate.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows surrogate_rows() {
  return {
      {.name = "straight_through",  // `hard` follows x, so that the estimator is a derivative here
       .call = [](const Tensors& x) -> Tensors { return {straight_through(x[0].detach(), x[0])}; },
       .shapes = detail::unary_shapes(),
       .bad = [] { straight_through(zeros({2}), zeros({3})); },
       .message = "straight_through: shapes differ: [2] and [3]",
       .bench = {{1 << 20}}},
      {.name = "gradient_reversal",  // twice, which is a derivative again
       .call = [](const Tensors& x) -> Tensors { return {gradient_reversal(gradient_reversal(x[0], 2), 0.5)}; },
       .shapes = detail::unary_shapes(),
       .bad = [] { gradient_reversal(zeros({2}, int64)); },
       .message = "gradient_reversal: needs float32 or float64, got int64 [2]",
       .bench = {{1 << 20}}},
  };
}

}  // namespace attune::tests
