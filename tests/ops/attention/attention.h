// Samples of ops/attention/attention.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows attention_rows() {
  return {
      {.name = "scaled_dot_product_attention",
       .call = [](const Tensors& x) -> Tensors {
         Generator g(5);
         const std::int64_t t = x[0].size(-2), s = x[1].size(-2);
         const Tensor mask = eq(arange(s), unsqueeze(arange(t), 1));
         return {
             scaled_dot_product_attention(x[0], x[1], x[2], {.causal = true}).output,
             scaled_dot_product_attention(x[0], x[1], x[2], {.attention_mask = mask, .bias = x[3], .scale = 0.7})
                 .output,
             scaled_dot_product_attention(x[0], x[1], x[2], {.bias = x[3], .dropout = 0.3, .generator = &g}).output,
             scaled_dot_product_attention(
                 x[0], x[1], x[2], {.bias = x[3], .pattern = AttentionPattern::band(2) | AttentionPattern::strided(3)})
                 .output};
       },
       .shapes = {{{1, 2, 3, 2}, {1, 2, 4, 2}, {1, 2, 4, 3}, {3, 4}},
                  {{2, 1, 2}, {3, 2}, {2, 3, 1}, {1}},
                  {{2, 1}, {2, 1}, {2, 1}, {2, 2}},
                  {{2, 1}, {2, 1}, {2, 1}, {2, 1}},
                  {{1, 2, 3, 0}, {1, 2, 4, 0}, {1, 2, 4, 3}, {3, 4}},
                  {{1, 2, 3, 2}, {1, 2, 4, 2}, {1, 2, 4, 3}, {}},
                  {{1, 2, 0, 2}, {1, 2, 4, 2}, {1, 2, 4, 0}, {0, 4}},
                  {{0, 2, 1}, {0, 2, 1}, {0, 2, 1}, {2, 2}}},
       .bad =
           [] {
             scaled_dot_product_attention(zeros({2, 3}), zeros({2, 4}), zeros({2, 4}));
           },
       .message = "scaled_dot_product_attention: q [2, 3], k [2, 4] and v [2, 4] do not fit [..., t, d], [..., s, d], "
                  "[..., s, v]",
       .bench = {{2, 4, 256, 32}, {2, 4, 256, 32}, {2, 4, 256, 32}, {256, 256}}},
      {.name = "scaled_dot_product_attention, grouped heads",
       .call = [](const Tensors& x) -> Tensors {
         return {scaled_dot_product_attention(x[0], x[1], x[2], {.causal = true, .grouped_heads = true}).output};
       },
       .shapes = {{{1, 4, 3, 2}, {1, 2, 4, 2}, {1, 2, 4, 3}},
                  {{1, 4, 3, 2}, {1, 2, 4, 2}, {1, 2, 4, 2}},
                  {{2, 4, 2, 1}, {1, 2, 1}, {1, 2, 2}},
                  {{4, 2, 2}, {1, 2, 2}, {1, 2, 1}},
                  {{0, 4, 2, 2}, {0, 2, 2, 2}, {0, 2, 2, 1}},
                  {{1, 0, 2, 2}, {1, 2, 2, 2}, {1, 2, 2, 1}}},
       .bad =
           [] {
             scaled_dot_product_attention(zeros({3, 1, 2}), zeros({2, 1, 2}), zeros({2, 1, 2}),
                                          {.grouped_heads = true});
           },
       .message = "scaled_dot_product_attention: q [3, 1, 2], k [2, 1, 2] and v [2, 1, 2] do not fit [..., h, t, d], "
                  "[..., g, s, d], [..., g, s, v] with g dividing h",
       .bench = {{2, 8, 256, 32}, {2, 2, 256, 32}, {2, 2, 256, 32}}},
  };
}

}  // namespace attune::tests
