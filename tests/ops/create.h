// Samples of ops/create.h.
#pragma once

#include "tests/ops/op_table.h"

namespace attune::tests {

inline Rows create_rows() {
  return {
      {.name = "to",
       .call = [](const Tensors& x) -> Tensors { return {to(to(x[0], float32), x[0].dtype())}; },
       .shapes = {{{0}}},  // float32 has too few digits for finite differences; its values are tested by name
       .bad = [] { to(Tensor(), float64); },
       .message = "to: an input is undefined",
       .bench = {{1 << 20}}},
  };
}

}  // namespace attune::tests
