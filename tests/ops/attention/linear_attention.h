// Samples of ops/attention/linear_attention.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows linear_attention_rows() {
  const auto bad = [] { causal_product(zeros({1, 4, 2, 3}), zeros({1, 5, 2, 3}), zeros({1, 5, 2, 1})); };
  constexpr const char* message =
      "causal_product: q [1, 4, 2, 3], k [1, 5, 2, 3] and v [1, 5, 2, 1]: causal attention needs as many queries as "
      "keys";
  const std::vector<std::vector<Shape>> shapes{{{1, 4, 2, 2}, {1, 4, 2, 2}, {1, 4, 2, 3}},
                                               {{2, 3, 1, 1}, {2, 3, 1, 1}, {2, 3, 1, 1}},
                                               {{1, 70, 1, 2}, {1, 70, 1, 2}, {1, 70, 1, 1}},
                                               {{1, 2, 1, 0}, {1, 2, 1, 0}, {1, 2, 1, 2}},
                                               {{0, 4, 1, 2}, {0, 4, 1, 2}, {0, 4, 1, 2}}};
  return {
      {.name = "causal_product",
       .call = [](const Tensors& x) -> Tensors { return {causal_product(x[0], x[1], x[2])}; },
       .shapes = shapes,
       .bad = bad,
       .message = message,
       .bench = {{1, 1024, 4, 64}, {1, 1024, 4, 64}, {1, 1024, 4, 64}}},
      {.name = "causal_product, from the end",
       .call = [](const Tensors& x) -> Tensors { return {causal_product(x[0], x[1], x[2], true)}; },
       .shapes = shapes,
       .bad = bad,
       .message = message,
       .bench = {{1, 1024, 4, 64}, {1, 1024, 4, 64}, {1, 1024, 4, 64}}},
  };
}

}  // namespace attune::tests
