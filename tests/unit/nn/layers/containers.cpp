// Modules that hold modules: in a row, and by name.

#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

TEST_CASE("Sequential") {
  struct Doubled : nn::Module {  // a user's module without a call site
    Tensor operator()(const Tensor& x) const { return 2 * x; }
  };
  nn::Sequential m;
  nn::Linear& first = m.add<nn::Linear>(3, 4);
  m.add<nn::Tanh>();
  m.add<Doubled>();
  nn::Sequential& inner = m.add<nn::Sequential>();
  nn::Linear& second = inner.add<nn::Linear>(4, 2);
  CHECK(m.size() == 4);
  const Tensor x = normal({5, 3});
  m.to(float64);
  CHECK(same(m(x), second(2 * tanh(first(x)))));
  CHECK(second.path() == "3.0");
  CHECK(m.named_parameters()[2].first == "3.0.weight");
  CHECK(check_gradients(m, [&](const Tensors& in) { return Tensors{m(in[0])}; }, {normal_leaf({2, 3})}) == "");
  CHECK(nn::Sequential()(x).impl() == x.impl());
}

TEST_CASE("a dictionary of modules keeps names and order") {
  nn::ModuleDict<nn::Linear> heads;
  heads.add("tags", 2, 3);
  heads.add("chunks", 2, 4);
  CHECK(heads.size() == 2);
  CHECK(heads.contains("tags"));
  CHECK_FALSE(heads.contains("names"));
  CHECK(heads["chunks"](ones({1, 2})).shape() == Shape{1, 4});
  std::string names;
  for (const auto& item : heads) names += item.first + " ";
  CHECK(names == "tags chunks ");
  CHECK(heads.named_parameters()[0].first == "tags.weight");
  CHECK(thrown([&] { heads["names"]; }) == "ValueError: ModuleDict: there is no module \"names\"");
  CHECK(thrown([&] { heads.add("tags", 1, 1); }).starts_with("ValueError: "));
}
