// Samples of ops/convolution.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows convolution_rows() {
  return {
      {.name = "conv1d",
       .call = [](const Tensors& x) -> Tensors {
         return {conv1d(x[0], x[1], x[2]), conv1d(x[0], x[1], {}, {.stride = 2, .padding = 2, .dilation = 2}),
                 conv1d(x[0], x[1], x[2], {.padding = same_padding})};
       },
       .shapes = {{{2, 3, 6}, {4, 3, 2}, {4}},
                  {{1, 1, 1}, {1, 1, 1}, {1}},
                  {{2, 3}, {1, 2, 2}, {1}},
                  {{0, 2, 4}, {3, 2, 2}, {3}},
                  {{2, 2, 4}, {0, 2, 2}, {0}},
                  {{2, 0, 4}, {3, 0, 2}, {3}}},
       .bad =
           [] {
             conv1d(zeros({2, 3, 6}), zeros({4, 2, 3}));
           },
       .message = "conv1d: x [2, 3, 6] does not fit the weight [4, 2, 3], which is [O, C / groups, K], in 1 groups",
       .bench = {{64, 128, 64}, {256, 128, 5}, {256}}},
      {.name = "conv1d, in groups",
       .call = [](const Tensors& x) -> Tensors {
         return {conv1d(x[0], x[1], x[2], {.stride = 3, .padding = 1, .groups = 2}),
                 conv1d(x[0], x[1], {}, {.padding = 3, .dilation = 3, .groups = 2})};
       },
       .shapes = {{{2, 4, 5}, {6, 2, 3}, {6}},
                  {{1, 2, 4}, {2, 1, 2}, {2}},
                  {{1, 2, 0}, {2, 1, 2}, {2}},
                  {{2, 4, 5}, {0, 2, 3}, {0}}},
       .bad =
           [] {
             conv1d(zeros({2, 4, 5}), zeros({6, 2, 3}), {}, {.stride = 2, .padding = same_padding, .groups = 2});
           },
       .message = "conv1d: same_padding needs a stride of 1, not 2",
       .bench = {{32, 64, 64}, {64, 32, 3}, {64}}},
  };
}

}  // namespace attune::tests
