// jvp; its values are checked for each operation by tests/ops.

#include <doctest/doctest.h>

#include "tests/unit/plain.h"

namespace attune::tests {

TEST_CASE("extremes: jvp refuses tangents that do not fit, at the caller's line") {
  const auto f = [](const Tensors& in) { return Tensors{in[0] * in[0]}; };
  const Tensor x = zeros({2}, float64);
  const auto refused = [&](const Tensor& v) {
    const int line = __LINE__ + 2;
    try {
      jvp(f, {x}, {v});
    } catch (const ShapeError& e) {
      CHECK(e.where().str() == "jvp.cpp:" + std::to_string(line));
      const std::string what = e.what();
      return what.substr(0, what.find('\n'));
    }
    return std::string();
  };
  CHECK(refused(zeros({3}, float64)) == "jvp: tangent 0 [3] float64 does not fit input 0 [2] float64");
  CHECK(refused(zeros({2})) == "jvp: tangent 0 [2] float32 does not fit input 0 [2] float64");
  CHECK(refused({}) == "jvp: tangent 0 is undefined and does not fit input 0 [2] float64");
}

}  // namespace attune::tests
