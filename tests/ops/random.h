// Samples of ops/random.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows random_rows() {
  return {
      {.name = "dropout",
       .call = [](const Tensors& x) -> Tensors {
         return {dropout_at(x[0], 0.4, {7, 3}), dropout_at(x[0], 1, {7, 4})};
       },
       .shapes = {{{2, 3}}, {{}}, {{1}}, {{0, 2}}},
       .bad = [] { dropout(zeros({2}), 1.5); },
       .message = "dropout: p = 1.5 is not in [0, 1]",
       .bench = {{1 << 20}}},
  };
}

}  // namespace attune::tests
