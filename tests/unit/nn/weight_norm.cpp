// Weight normalisation: values, gradients, and what becomes of names, states and copies.

#include "optim/optim.h"
#include "tests/unit/nn_checks.h"

using namespace attune;
using namespace attune::tests;

namespace {

struct Net : nn::Module {
  nn::Linear& up = child<nn::Linear>("up", 3, 4);
  nn::Conv1d& conv = child<nn::Conv1d>("conv", 4, 2, 1, {.bias = false});
  Tensor operator()(const Tensor& x) const { return conv(transpose(tanh(up(x)), 1, 2)); }
};

std::string names(const nn::Module& m) {
  std::string all;
  for (const auto& [name, p] : m.named_parameters()) all += name + p.shape().str() + " ";
  return all;
}

}  // namespace

TEST_CASE("weight_norm: the same function of lengths and directions") {
  Net m;
  randomize(m);
  const Tensor x = normal({2, 5, 3}), before = m(x).detach();
  CHECK(&nn::weight_norm(m.up.weight) == &m.up.weight);
  nn::weight_norm(m.conv.weight, -3);
  CHECK(names(m) == "up.bias[4] up.weight_v[4, 3] up.weight_g[4, 1] conv.weight_v[2, 4, 1] conv.weight_g[2, 1, 1] ");
  CHECK(close(m(x).detach(), Plain(before), 1e-12));
  CHECK(m.named_buffers().empty());
  CHECK(check_gradients(m, [&](const Tensors& in) { return Tensors{m(in[0])}; }, {normal_leaf({2, 5, 3})}) == "");
  sum(square(m(x))).backward();
  CHECK(thrown([&] { m.up.weight.grad(); }).starts_with("GradError: grad: up.weight is made of up.weight_g and"));
  CHECK(thrown([&] {
          const NoGrad off;
          fill_(m.up.weight, 1);
        }).starts_with("GradError: fill_: up.weight is made of"));

  // Twice its length: twice the weight.
  const Values w = m.up.weight.to_vector<double>();
  auto parameters = m.named_parameters();
  {
    const NoGrad off;
    mul_(parameters[2].second, 2);
  }
  Values twice = w;
  for (double& v : twice) v *= 2;
  CHECK(close(m.up.weight.detach(), Plain(tensor(twice, {4, 3}, float64))));
  m.up.weight = ones({4, 3}, float64);
  CHECK(close(m.up.weight.detach(), Plain(tensor(Values(12, 1), {4, 3}, float64))));
  m.up.weight *= 3;
  CHECK(close(m.up.weight.detach(), Plain(tensor(Values(12, 3), {4, 3}, float64))));
  CHECK(thrown([&] { m.up.weight = ones({4, 2}, float64); }).starts_with("ShapeError: up.weight: is"));

  optim::SGD opt(m.parameters(), {.lr = 0.1});
  double first = 0, last = 0;
  for (int i = 0; i < 20; ++i) {
    const Tensor loss = mean(square(m(x)));
    last = loss.item();
    if (i == 0) first = last;
    loss.backward();
    opt.step();
  }
  CHECK(last < first);

  const Tensor now = m(x).detach();
  Net other;
  other.to(float64);
  CHECK_THROWS_AS(other.load_state_dict(m.state_dict()), ValueError);
  nn::weight_norm(other.up.weight), nn::weight_norm(other.conv.weight);
  other.load_state_dict(m.state_dict());
  CHECK(same(other(x).detach(), now));
  for (nn::Parameter* p : {&other.up.weight, &other.conv.weight}) nn::remove_weight_norm(*p);
  CHECK(names(other) == "up.weight[4, 3] up.bias[4] conv.weight[2, 4, 1] ");
  CHECK(close(other(x).detach(), Plain(now), 1e-12));
  CHECK((other.up.weight.requires_grad() && other.up.weight.is_leaf()));
  m.to(float32);
  CHECK(m(attune::to(x, float32)).dtype() == float32);
}

TEST_CASE("weight_norm: rows of zeros, frozen weights and refusals") {
  nn::Embedding table(4, 3, {.padding_index = 1});
  table.weight.requires_grad_(false);
  nn::weight_norm(table.weight);
  CHECK(!table.weight.requires_grad());
  table.weight.requires_grad_();
  const Tensor y = table(index_tensor({1, 2}));
  CHECK(same(select(y, 0, 0).detach(), {3}, {0, 0, 0}));
  sum(y).backward();
  for (const Tensor& p : table.parameters())
    for (double v : p.grad().to_vector<double>()) CHECK(std::isfinite(v));
  CHECK(thrown([&] { nn::weight_norm(table.weight); }) == "ValueError: weight_norm: weight is made of others already");
  nn::Linear plain(2, 2, {.bias = false});
  CHECK(thrown([&] { nn::weight_norm(plain.bias()); }).starts_with("ValueError: weight_norm: bias: there is none"));
  CHECK(thrown([&] { nn::remove_weight_norm(plain.weight); }).starts_with("ValueError"));
  CHECK(thrown([&] { nn::weight_norm(plain.weight, 2); }).starts_with("IndexError"));
  struct Tied : nn::Module {
    nn::Linear& a = child<nn::Linear>("a", 2, 2);
    nn::Linear& b = child<nn::Linear>("b", 2, 2);
  };
  Tied tied;
  tied.a.weight.tie(tied.b.weight);
  CHECK(thrown([&] { nn::weight_norm(tied.a.weight); }) ==
        "ValueError: weight_norm: a.weight is tied to another parameter");
}
