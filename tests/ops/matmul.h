// Samples of ops/matmul.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows matmul_rows() {
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
  };
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
