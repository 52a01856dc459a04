// Samples of ops/norm.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows norm_rows() {
  return {
      {.name = "layer_norm",
       .call = [](const Tensors& x) -> Tensors {
         return {layer_norm(x[0], x[1], x[2]), layer_norm(x[0])};
       },
       .shapes = {{{2, 3}, {3}, {3}},
                  {{2, 2, 3}, {2, 3}, {2, 3}},
                  {{0, 3}, {3}, {3}},
                  {{4}, {4}, {4}},
                  {{2, 0}, {0}, {0}},
                  {{1, 3}, {3}, {3}},
                  {{2, 1}, {1}, {1}}},
       .bad =
           [] {
             layer_norm(zeros({2, 3}), zeros({4}));
           },
       .message = "layer_norm: the weight [4] does not fit the last axes of x [2, 3]",
       .bench = {{512, 1024}, {1024}, {1024}}},
      {.name = "rms_norm",
       .call = [](const Tensors& x) -> Tensors {
         return {rms_norm(x[0], x[1]), rms_norm(x[0])};
       },
       .shapes = {{{2, 3}, {3}}, {{0, 3}, {3}}, {{4}, {4}}, {{2, 1, 2}, {2}}, {{2, 0}, {0}}, {{2, 1}, {1}}},
       .bad =
           [] {
             rms_norm(zeros({2, 3}), zeros({4}));
           },
       .message = "rms_norm: the weight [4] does not fit the last axis of x [2, 3]",
       .bench = {{512, 1024}, {1024}}},
      {.name = "cosine_similarity",
       .call = [](const Tensors& x) -> Tensors {
         return {cosine_similarity(x[0], x[1]), cosine_similarity(x[0], x[1], 0)};
       },
       .shapes = {{{2, 3}, {2, 3}},
                  {{2, 3}, {3}},
                  {{0, 3}, {0, 3}},
                  {{1, 3}, {1, 3}},
                  {{}, {2, 3}},
                  {{2, 3}, {}},
                  {{1, 3}, {2, 3}}},
       .domains = {{.kinks = {0}, .margin = 0.2}, {.kinks = {0}, .margin = 0.2}},
       .bad = [] { cosine_similarity(zeros({2}), zeros({3})); },
       .message = "cosine_similarity: shapes do not broadcast: [2] and [3]",
       .bench = {{1024, 64}, {1024, 64}}},
  };
}

}  // namespace attune::tests
