// The whole table.
#pragma once

#include "tests/ops/elementwise.h"
#include "tests/ops/index.h"
#include "tests/ops/loss.h"
#include "tests/ops/movement.h"
#include "tests/ops/products.h"
#include "tests/ops/recurrent.h"
#include "tests/ops/reduce.h"

namespace attune::tests {

inline Rows all_rows() {
  Rows rows;
  for (const Rows& family : {elementwise_rows(), movement_rows(), reduce_rows(), index_rows(), product_rows(),
                             loss_rows(), recurrent_rows()})
    rows.insert(rows.end(), family.begin(), family.end());
  return rows;
}

}  // namespace attune::tests
