// Dropout as a module: its generator, its mode, its share.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("Dropout") {
  Generator g(1), h(1);
  nn::Dropout m(0.25, g), twin(0.25, h), none(0.0), all(1.0);
  const Tensor x = ones({100, 100});
  const Tensor y = m(x);
  CHECK(same(y, twin(x)));
  CHECK(!same(y, m(x)));
  double kept = 0;
  for (double v : y.to_vector<double>()) {
    CHECK_MESSAGE((v == 0 || std::abs(v - 4.0 / 3) < 1e-6), v);
    kept += v != 0;
  }
  CHECK(std::abs(kept / 10000 - 0.75) < 0.025);
  CHECK(same(none(x), x));
  CHECK(same(all(x), zeros_like(x)));
  m.eval();
  CHECK(m(x).impl() == x.impl());
  m.train();
  Tensor leaf = ones({50}).requires_grad_();
  const Tensor z = m(leaf);
  sum(z).backward();
  CHECK(same(leaf.grad(), z.detach()));
  CHECK(m.p() == 0.25);

  manual_seed(3);
  const Tensor first = nn::Dropout(0.5)(x);
  manual_seed(3);
  CHECK(same(first, nn::Dropout(0.5)(x)));
  CHECK(thrown([] { nn::Dropout(-0.1); }) == "ValueError: Dropout: p = -0.100000 is not in [0, 1]");
  CHECK(thrown([] { nn::Dropout(1.5); }) == "ValueError: Dropout: p = 1.500000 is not in [0, 1]");
  CHECK(thrown([] { nn::Dropout{not_a_number}; }).starts_with("ValueError: Dropout: p = "));
}
