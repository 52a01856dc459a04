// Samples of ops/embedding.h.
#pragma once

#include "tests/ops/gather.h"

namespace attune::tests {

inline Rows embedding_rows() {
  return {
      {.name = "embedding",
       .call = [](const Tensors& x) -> Tensors {
         return {embedding(x[0], sample_index({2, 4}, x[0].size(0))), embedding(x[0], sample_index({0}, 1))};
       },
       .shapes = {{{5, 3}}, {{1, 1}}, {{4, 0}}},
       .bad = [] { embedding(zeros({5}), index_tensor({1})); },
       .message = "embedding: the table must be [rows, d], got [5]",
       .bench = {{32768, 256}}},
  };
}

}  // namespace attune::tests
