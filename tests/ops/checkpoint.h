// A sample of tape/checkpoint.h.
#pragma once

#include "autograd/tape/checkpoint.h"
#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows checkpoint_rows() {
  return {
      {.name = "checkpoint",
       .call = [](const Tensors& x) -> Tensors {
         return checkpoint([](const Tensors& in) { return Tensors{tanh(in[0]) * in[1]}; }, {x[0], x[1]});
       },
       .shapes = {{{2, 3}, {2, 3}},
                  {{2, 3}, {3}},
                  {{0, 3}, {0, 3}},
                  {{1, 3}, {1, 3}},
                  {{}, {2, 3}},
                  {{2, 3}, {}},
                  {{1, 3}, {2, 3}}},
       .bad =
           [] {
             checkpoint([](const Tensors& in) { return Tensors{matmul(in[0], in[0])}; }, {zeros({2, 3})});
           },
       .message = "checkpoint: matmul: inner sizes differ: [2, 3] x [2, 3] (3 != 2)",
       .bench = {{1 << 16}, {1 << 16}}},
  };
}

}  // namespace attune::tests
