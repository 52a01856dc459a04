// Shapes and their strides.

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("shape: a zero-size shape may have strides beyond 64 bits") {
  const Shape vast{0, std::int64_t{1} << 62, std::int64_t{1} << 62};
  const Tensor x = zeros(vast);
  CHECK(numel(vast) == 0);
  CHECK(x.is_contiguous());
  CHECK((x + x).shape() == vast);
  CHECK(contiguous(permute(x, {2, 0, 1})).is_contiguous());
}

}  // namespace attune::tests
