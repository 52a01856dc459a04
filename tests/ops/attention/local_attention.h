// A sample of ops/attention/local_attention.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows local_attention_rows() {
  return {
      {.name = "local_attention",
       .call = [](const Tensors& x) -> Tensors {
         return {local_attention(x[0], x[1], x[2], {.chunk = 32}),
                 local_attention(x[0], x[1], x[2],
                                 {.chunk = 33, .chunks_before = 0, .chunks_after = 1, .causal = false, .dropout = 0.3},
                                 {}, {5, 9})};
       },
       .shapes = {{{1, 4, 2, 2}, {1, 4, 2, 2}, {1, 4, 2, 2}},
                  {{1, 70, 1, 1}, {1, 70, 1, 1}, {1, 70, 1, 1}},
                  {{0, 4, 1, 2}, {0, 4, 1, 2}, {0, 4, 1, 2}}},
       .bad =
           [] {
             local_attention(zeros({1, 4, 2, 2}), zeros({1, 5, 2, 2}), zeros({1, 4, 2, 2}), {});
           },
       .message = "local_attention: k [1, 5, 2, 2] differs from [1, 4, 2, 2]",
       .bench = {{2, 256, 4, 32}, {2, 256, 4, 32}, {2, 256, 4, 32}}},
  };
}

}  // namespace attune::tests
