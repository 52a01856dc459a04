// LSH attention as a module. What it computes is tested in ops/attention/lsh_attention.cpp and nn/models/reformer.cpp.

#include "tests/unit/nn_checks.h"

namespace attune::tests {

TEST_CASE("LshSelfAttention: a dropout of 1 is refused in training, and is no concern of evaluation") {
  nn::LshSelfAttention attention(8, 2, {.chunk = 4, .dropout = 1});
  const Tensor x = randn({1, 16, 8});
  CHECK_THROWS_AS(attention(x), ValueError);
  attention.eval();
  CHECK(attention(x).output.shape() == Shape{1, 16, 8});
}

}  // namespace attune::tests
