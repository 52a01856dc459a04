// The whole table. A row stands in the file that is named after the header that declares its operation: the rows of
// autograd/ops/<family>.h in tests/ops/<family>.h. The operations page checks it.
#pragma once

#include "tests/ops/attention/attention.h"
#include "tests/ops/attention/chunked_attention.h"
#include "tests/ops/attention/linear_attention.h"
#include "tests/ops/attention/local_attention.h"
#include "tests/ops/attention/lsh_attention.h"
#include "tests/ops/checkpoint.h"
#include "tests/ops/convolution.h"
#include "tests/ops/create.h"
#include "tests/ops/elementwise.h"
#include "tests/ops/embedding.h"
#include "tests/ops/gather.h"
#include "tests/ops/index.h"
#include "tests/ops/loss.h"
#include "tests/ops/matmul.h"
#include "tests/ops/movement.h"
#include "tests/ops/norm.h"
#include "tests/ops/products.h"
#include "tests/ops/random.h"
#include "tests/ops/recurrent.h"
#include "tests/ops/reduce.h"
#include "tests/ops/softmax.h"
#include "tests/ops/sort.h"
#include "tests/ops/surrogate.h"

namespace attune::tests {

inline Rows all_rows() {
  Rows rows;
  for (const Rows& family : {elementwise_rows(),
                             create_rows(),
                             surrogate_rows(),
                             movement_rows(),
                             reduce_rows(),
                             gather_rows(),
                             index_rows(),
                             embedding_rows(),
                             sort_rows(),
                             matmul_rows(),
                             products_rows(),
                             softmax_rows(),
                             norm_rows(),
                             loss_rows(),
                             random_rows(),
                             convolution_rows(),
                             recurrent_rows(),
                             attention_rows(),
                             local_attention_rows(),
                             chunked_attention_rows(),
                             lsh_attention_rows(),
                             linear_attention_rows(),
                             checkpoint_rows()})
    rows.insert(rows.end(), family.begin(), family.end());
  return rows;
}

}  // namespace attune::tests
