// scan: a step function over the first axis.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("rnn: scan") {
  const Tensor xs = normal_leaf({4, 2}), ks = normal({4}, 2), s0 = normal_leaf({2}, 3);
  const ScanStep step = [](const Tensors& s, const Tensors& x) {
    const Tensor h = s[0] * x[1] + x[0];
    return ScanResult{{h}, {h, 2 * x[0]}};
  };
  for (const bool reverse : {false, true}) {
    const ScanResult r = scan(step, {s0}, {xs, ks}, reverse);
    REQUIRE(r.ys.size() == 2);
    Plain h(s0.detach()), y({4, 2});
    for (std::int64_t i = 0; i < 4; ++i)
      for (std::int64_t j = 0; j < 2; ++j) {
        const std::int64_t t = reverse ? 3 - i : i;
        y[{t, j}] = h[{j}] = h[{j}] * Plain(ks)[{t}] + Plain(xs.detach())[{t, j}];
      }
    CHECK(close(r.ys[0].detach(), y));
    CHECK(close(r.ys[1].detach(), Plain((2 * xs).detach())));
    CHECK(close(r.state[0].detach(), h));
    CHECK(gradcheck([&](const Tensors& in) { return scan(step, {in[1]}, {in[0], ks}, reverse).ys; }, {xs, s0}) == "");
  }
  const ScanResult none = scan(step, {s0}, {zeros({0, 2}, float64), zeros({0}, float64)});
  CHECK(none.ys.empty());
  CHECK(none.state[0].impl() == s0.impl());
  CHECK(thrown([&] { scan(step, {s0}, {}); }) == "ValueError: scan: needs at least one input");
  CHECK(thrown([&] {
          scan(step, {s0}, {xs, zeros({3})});
        }) == "ShapeError: scan: the inputs [4, 2] and [3] differ in their steps");
  CHECK(thrown([&] { scan(step, {s0}, {scalar(1)}); }) == "ShapeError: scan: an input of rank 0 has no steps");
  CHECK(thrown([&] {
          scan([](const Tensors&, const Tensors& x) { return ScanResult{{}, {x[0]}}; }, {s0}, {xs});
        }) == "ValueError: scan: step 0 gave 0 states and 1 outputs, not 1 and 1");
}
