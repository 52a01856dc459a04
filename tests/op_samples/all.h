// The whole table.
#pragma once

#include "tests/op_samples/elementwise.h"
#include "tests/op_samples/index.h"
#include "tests/op_samples/loss.h"
#include "tests/op_samples/movement.h"
#include "tests/op_samples/products.h"
#include "tests/op_samples/recurrent.h"
#include "tests/op_samples/reduce.h"

namespace attune::tests {

inline Rows all_rows() {
  Rows rows;
  for (const Rows& family : {elementwise_rows(), movement_rows(), reduce_rows(), index_rows(), product_rows(),
                             loss_rows(), recurrent_rows()})
    rows.insert(rows.end(), family.begin(), family.end());
  return rows;
}

}  // namespace attune::tests
