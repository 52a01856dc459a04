// A sample of ops/attention/internal/chunked_attention.h, which local attention in a ring is made of.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows chunked_attention_rows() {
  return {
      {.name = "chunked_attention",
       .call = [](const Tensors& x) -> Tensors {
         return {local_attention(x[0], x[1], x[2], {.chunk = 2, .causal = false, .ring = true}),
                 local_attention(x[0], x[1], x[2], {.chunk = 3, .chunks_after = 1, .ring = true, .dropout = 0.3}, {},
                                 {5, 9})};
       },
       .shapes = {{{1, 4, 2, 2}, {1, 4, 2, 2}, {1, 4, 2, 2}},
                  {{2, 5, 1, 3}, {2, 5, 1, 3}, {2, 5, 1, 3}},
                  {{0, 4, 1, 2}, {0, 4, 1, 2}, {0, 4, 1, 2}}},
       .bad =
           [] {
             local_attention(zeros({1, 4, 2}), zeros({1, 4, 2}), zeros({1, 4, 2}), {});
           },
       .message = "local_attention: q must be [batch, length, heads, head size], got [1, 4, 2]",
       .bench = {{2, 256, 4, 32}, {2, 256, 4, 32}, {2, 256, 4, 32}}},
  };
}

}  // namespace attune::tests
